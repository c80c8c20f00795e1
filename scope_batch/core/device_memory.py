"""Holds the forecast of a render's device memory as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes on the device. All but `kernels`, `transient` and `prompts` are exact.

    weights      of transformer, VACE module and VAE; branches: LoRA weights that are not merged.
    kv_cache     keys and values of self-attention; text_cache: those of the prompt.
    conditioning embeddings of the prompt and of timesteps.
    history      latents from which the KV cache is recomputed.
    vae_streams  feature caches of the VAE's encoders and decoder.
    kernels      what the program's own CUDA kernels hold: rearranged weights, working memory, CUDA graphs.
    transient    peak working memory of a chunk, to about 10 %.
    prompts      peak while prompts are encoded, before the caches are allocated.
    offloadable  part of `weights` and `branches` that `--low-vram` keeps in host memory.
    read         True: sizes of the model files on disk; False: published sizes.
    processors   models of the processors before and after the pipeline, with their working memory.
    """

    weights: int
    branches: int
    kv_cache: int
    text_cache: int
    conditioning: int
    history: int
    vae_streams: int
    kernels: int
    transient: int
    prompts: int
    offloadable: int
    read: bool
    processors: int = 0

    @property
    def persistent(self) -> int:
        return self.weights + self.branches + self.streaming_state + self.kernels + self.processors

    @property
    def streaming_state(self) -> int:
        """What lasts from chunk to chunk: all but the weights."""
        return self.kv_cache + self.text_cache + self.conditioning + self.history + self.vae_streams

    @property
    def peak(self) -> int:
        """Peak of the render, in bytes."""
        return self.persistent + self.transient

    def to_json(self) -> dict[str, int | bool]:
        return {**asdict(self), "persistent": self.persistent, "peak": self.peak}
