"""The forecast of a render's device memory, as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes on the device.

    weights      backbone, VACE module and VAE; branches: LoRAs beside them.
    kv_cache, text_cache  keys and values of the window's frames, and of the prompt.
    conditioning the prompt's embedding, and what becomes of timesteps.
    history      latents from which the KV cache can be rebuilt.
    vae_streams  what the VAE's encoders and decoder remember.
    transient    the most that a chunk needs besides: about right, everything else is exact.
    prompts      the most while prompts are encoded, which is over before caches are there; 0 if not known.
    offloadable  what `--low-vram` takes off `weights` and `branches`.
    read         sizes are those of the files, else as published.
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
        return (
            self.weights
            + self.branches
            + self.kv_cache
            + self.text_cache
            + self.conditioning
            + self.history
            + self.vae_streams
        )

    @property
    def peak(self) -> int:
        """Of the render itself."""
        return self.persistent + self.transient

    def to_json(self) -> dict[str, int | bool]:
        return {**asdict(self), "persistent": self.persistent, "peak": self.peak}
