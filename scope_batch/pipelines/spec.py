"""Describes a pipeline for everything above the engine: geometry, defaults and capabilities. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from scope_batch.core import geometry
from scope_batch.core.geometry import Mode

Memory = Literal["rolling", "relative", "context"]
"""How the KV cache treats frames that leave the window; see `engine.cache_policy`."""
PromptChange = Literal["recache", "text"]
MEMORIES, PROMPT_CHANGES = get_args(Memory), get_args(PromptChange)


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """Latent counts are latent frames, sizes pixels, steps timesteps in 0..1000.

    block           latent frames per chunk.
    window, sink    latent frames of the KV cache, and how many of its first ones never leave.
    shift           of the flow-matching sigma table.
    on_prompt_change  text mode: rebuild the KV cache under the new prompt, or renew the text keys and values only.
    engine          "module:function" that loads it (imported only when a render starts).
    memory          of self-attention: "rolling" = a ring whose keys carry their position in the sequence; "relative" =
                    positions count within the window, and what leaves it fades into the sink; "context" = none but a
                    few latent frames that are computed anew before every chunk, at the same positions.
    clean_pass      a chunk's clean latents go through the transformer once more, to be remembered.
    normalised      the VAE's latents are normalised for the transformer; else it takes them raw.
    video_overlap   latent frames of a first chunk of video that the next chunk takes the place of.
    memory_bank     there is a memory bank to switch on.
    needs_models    False: nothing to load.
    vace            frames, masks and images can steer it through VACE.
    attention_bias  default weight of cached latent frames in self-attention, 0.01..1; None = it has no such weight.
    trained_size    height and width of the clips that the model was trained on.

    Raises ValueError if memory="relative" and on_prompt_change="recache".
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

    def steps(self, mode: Mode) -> tuple[int, ...]:
        return self.steps_video if mode == "video" else self.steps_text

    def chunk_latents(self, mode: Mode, *, first: bool) -> int:
        return geometry.chunk_latents(self.block, mode, first=first)

    def chunk_frames(self, mode: Mode, *, first: bool) -> int:
        return geometry.chunk_frames(self.block, mode, first=first)

    def advance(self, mode: Mode, *, first: bool) -> int:
        """Latent frames from a chunk's start to the next one's."""
        return self.chunk_latents(mode, first=first) - (self.video_overlap if first and mode == "video" else 0)
