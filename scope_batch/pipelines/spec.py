"""Describes a pipeline for everything above the engine: geometry, defaults and capabilities. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from scope_batch.core import geometry
from scope_batch.core.geometry import Mode

Memory = Literal["rolling", "relative", "context"]
"""The policy of the KV cache; see `PipelineSpec.memory` and `engine.cache_policy`."""
PromptChange = Literal["recache", "text"]
"""The reaction to a new prompt in text mode; see `PipelineSpec.on_prompt_change`."""
MEMORIES, PROMPT_CHANGES = get_args(Memory), get_args(PromptChange)


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """Everything in which pipelines differ.

    id, summary     the name in a job's `pipeline` field, and one line for lists.
    block           latent frames per chunk.
    window          latent frames in the KV cache, those of the sink and of the current chunk included.
    sink            first latent frames of a sequence that always stay in the cache.
    shift           shift of the flow-matching sigma table.
    on_prompt_change  text mode, new prompt: "recache" = recompute all keys and values; "text" = only the prompt's.
    height, width   default frame size in pixels.
    steps_text, steps_video  default denoising steps of each mode, as timesteps in 0..1000.
    engine          "module:function" that loads the pipeline; imported only when a render starts.
    memory          keys and values of earlier frames: "rolling" = a ring, rotated by the position in the sequence;
                    "relative" = positions count within the window, and frames that leave it fade into the sink;
                    "context" = nothing is kept, three latent frames are recomputed before every chunk.
    clean_pass      run the transformer once more over a chunk's clean latents, to cache their keys and values.
    normalised      the transformer takes normalised latents of the VAE; else the raw ones.
    video_overlap   video mode: latent frames at the end of a first chunk that the next chunk replaces.
    memory_bank     the job may switch on a memory bank.
    needs_models    the pipeline loads model files.
    vace            frames, masks and images can steer the pipeline through VACE.
    attention_bias  default weight of cached latent frames in self-attention, 0.01..1; None = not supported.
    causal          a chunk depends on its own inputs and on earlier ones, not on what comes later in the plan; at a cut
                    it depends on no earlier one. Only then chunks of a changed job can be used again.
    trained_size    height and width in pixels of the clips that the model was trained on.

    Raises ValueError for another `memory` or `on_prompt_change` than those above, and if memory="relative" is combined
    with on_prompt_change="recache" or with a sink that differs from `block`.
    """

    id: str
    summary: str
    block: int
    window: int
    sink: int
    shift: float
    on_prompt_change: PromptChange
    height: int
    width: int
    steps_text: tuple[int, ...]
    steps_video: tuple[int, ...]
    engine: str
    memory: Memory = "rolling"
    clean_pass: bool = True
    normalised: bool = True
    video_overlap: int = 0
    memory_bank: bool = False
    needs_models: bool = True
    vace: bool = False
    attention_bias: float | None = None
    causal: bool = False
    trained_size: tuple[int, int] = (480, 832)

    def __post_init__(self) -> None:
        for name, allowed in (("memory", MEMORIES), ("on_prompt_change", PROMPT_CHANGES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"pipeline {self.id!r}: {name}={getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        if self.memory == "relative" and self.on_prompt_change == "recache":
            raise ValueError(
                f"pipeline {self.id!r}: memory='relative' does not allow on_prompt_change='recache', because frames "
                "that have faded into the sink cannot be recomputed; allowed: on_prompt_change='text', or "
                "memory='rolling' or 'context'"
            )
        if self.memory == "relative" and self.sink != self.block:
            raise ValueError(
                f"pipeline {self.id!r}: memory='relative' needs as many latent frames in the sink as in a chunk, "
                f"because the frames that a chunk replaces fade into the sink; got sink={self.sink}, "
                f"block={self.block}; allowed: sink={self.block}, or memory='rolling' or 'context'"
            )

    def steps(self, mode: Mode) -> tuple[int, ...]:
        """Return the default denoising steps, timesteps in 0..1000."""
        return self.steps_video if mode == "video" else self.steps_text

    def chunk_latents(self, mode: Mode, *, first: bool) -> int:
        """Return the latent frames of a chunk; first: of the first chunk after a cut."""
        return geometry.chunk_latents(self.block, mode, first=first)

    def chunk_frames(self, mode: Mode, *, first: bool) -> int:
        """Return the pixel frames of a chunk."""
        return geometry.chunk_frames(self.block, mode, first=first)

    def advance(self, mode: Mode, *, first: bool) -> int:
        """Return the latent frames from a chunk's start to the next chunk's start."""
        return self.chunk_latents(mode, first=first) - (self.video_overlap if first and mode == "video" else 0)
