"""Holds the forecast of a render's device memory as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes on the device. All but `transient` and `prompts` are exact.

    weights      of backbone, VACE module and VAE; branches: of LoRAs beside them.
    kv_cache     keys and values of the window's frames; text_cache: those of the prompt.
    conditioning the prompt's embedding, and the embeddings of timesteps.
    history      latents from which the KV cache is recomputed.
    vae_streams  feature caches of the VAE's encoders and decoder.
    transient    the most working memory that a chunk needs besides, within some 10 %.
    prompts      the most while prompts are encoded, before the caches are allocated.
    offloadable  how much `--low-vram` takes off `weights` and `branches`.
    read         sizes are those of the files; else as published.
    """

    weights: int
    branches: int
    kv_cache: int
    text_cache: int
    conditioning: int
    history: int
    vae_streams: int
    transient: int
    prompts: int
    offloadable: int
    read: bool

    @property
    def persistent(self) -> int:
        caches = self.kv_cache + self.text_cache + self.conditioning + self.history + self.vae_streams
        return self.weights + self.branches + caches

    @property
    def peak(self) -> int:
        """The most during the render itself."""
        return self.persistent + self.transient

    def to_json(self) -> dict[str, int | bool]:
        return {**asdict(self), "persistent": self.persistent, "peak": self.peak}
