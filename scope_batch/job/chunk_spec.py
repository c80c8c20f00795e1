"""Defines the entries of `chunk_specs`, and of the lists that are folded into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, Strict

from scope_batch.core.conditioning import BlendMethod
from scope_batch.job import rules
from scope_batch.job.checked import Checked
from scope_batch.job.faults import Fault, shown, wrong
from scope_batch.job.fields import LoraScales
from scope_batch.job.prompts import Prompts, WeightedPrompt
from scope_batch.job.scalars import InputPath, Seconds, parse_input_path, written_path

T = TypeVar("T")
ListOf = Annotated[tuple[T, ...], Strict(False)]


def _not_empty(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise wrong("must not be empty")
    return values


def _as_steps(value: Any) -> Any:
    if isinstance(value, int):
        raise wrong(f"must be a list of timesteps, such as [1000, 750, 500, 250], not a number ({shown(value)})")
    return value


MAX_SEED = 2**53
NoiseScale = Annotated[float, Field(ge=0, le=1)]
AttentionBias = Annotated[float, Field(ge=0.01, le=1)]
ContextScale = Annotated[float, Field(ge=0, le=2)]
LoraScale = Annotated[float, Field(ge=-10, le=10)]
NotEmpty = AfterValidator(_not_empty)
Steps = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Strict(False), NotEmpty, BeforeValidator(_as_steps)]
Index = Annotated[int, Field(ge=0)]
Shape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Strict(False), NotEmpty]


class Placed(Checked):
    """Base of the entries: exactly one of `chunk`, `frame` and `time` names the place."""

    chunk: Index | None = Field(default=None, description="Chunk index from 0; with chunk_grid: 12, of a slot.")
    frame: Index | None = Field(default=None, description="Output frame from 0: the chunk that delivers it.")
    time: Seconds | None = Field(
        default=None, description='Seconds or "MM:SS.mmm": the chunk that delivers that frame.'
    )

    @classmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        return list(rules.place_faults(written))


class ChunkSpec(Placed):
    """An entry of `chunk_specs`: the changes at one place of the video."""

    text: str | None = Field(default=None, description="New prompt, in force from here on.")
    prompts: Prompts | None = Field(default=None, description="New prompts that blend, in force from here on.")
    prompt_interpolation_method: BlendMethod | None = Field(default=None, description="How the prompts blend.")
    transition_target_prompts: Prompts | None = Field(
        default=None, description="The same as prompts: target of a transition."
    )
    transition_num_steps: int | None = Field(
        default=None,
        ge=0,
        description="Chunks over which the new prompt fades in; the first one still shows the old prompt.",
    )
    transition_method: BlendMethod | None = Field(default=None, description="How the transition interpolates.")

    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="Base seed of this chunk.")
    noise_scale: NoiseScale | None = Field(default=None, description="Noise mixed into the input video for this chunk.")
    noise_controller: bool | None = Field(default=None, description="Adapt noise_scale to motion in this chunk.")
    denoising_steps: Steps | None = Field(default=None, description="Timesteps of this chunk, 1..1000.")
    kv_cache_attention_bias: AttentionBias | None = Field(
        default=None, description="Weight of earlier frames in this chunk's attention."
    )
    reset_cache: bool = Field(default=False, description="Reset the KV cache here: a hard cut.")
    manage_cache: bool | None = Field(
        default=None, description="Let changes cut or recache automatically in this chunk."
    )

    lora_scales: LoraScales[LoraScale] | None = Field(
        default=None, description="LoRA file: scale, from here on; with a schedule, in this chunk."
    )
    first_frame_image: InputPath | None = Field(default=None, description="Image that this chunk starts with.")
    last_frame_image: InputPath | None = Field(default=None, description="Image that this chunk ends with.")
    vace_ref_images: ListOf[InputPath] = Field(default=(), description="Reference image of this chunk; it takes one.")
    vace_context_scale: ContextScale | None = Field(default=None, description="Strength of VACE in this chunk.")
    vace_temporally_locked: bool = Field(
        default=True, description="Control and masks are on the timeline of the job; false: of this chunk only."
    )
    vace_frames: InputPath | None = Field(default=None, description="Control frames from here on: video or array.")
    vace_frames_shape: Shape | None = Field(
        default=None, description="[1, C, T, H, W] of float32 frames in the data blob."
    )
    vace_frames_offset: Index | None = Field(default=None, description="Bytes into the data blob.")
    vace_masks: InputPath | None = Field(default=None, description="Masks from here on, white = generate.")
    vace_masks_shape: Shape | None = Field(
        default=None, description="[1, 1, T, H, W] of float32 masks in the data blob."
    )
    vace_masks_offset: Index | None = Field(default=None, description="Bytes into the data blob.")
    input_video: InputPath | None = Field(default=None, description="Input video of this chunk.")
    input_video_shape: Shape | None = Field(default=None, description="[T, H, W, C] of uint8 frames in the data blob.")
    input_video_offset: Index | None = Field(default=None, description="Bytes into the data blob.")

    @classmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        return rules.chunk_faults(written)

    @property
    def target(self) -> tuple[WeightedPrompt, ...] | None:
        """The entry's new prompts, from whichever field holds them."""
        if self.text is not None:
            return (WeightedPrompt(text=self.text),)
        return self.prompts or self.transition_target_prompts


class ChunkPrompt(Placed):
    """Entry of the protocol's first revision, converted to an entry of `chunk_specs`."""

    text: str = Field(description="New prompt, in force from here on.")


class ChunkImage(Placed):
    """Entry of the protocol's first revision, converted to an entry of `chunk_specs`."""

    image: InputPath = Field(description="Image file.")


class ChunkReferences(Placed):
    """Entry of the protocol's first revision, converted to an entry of `chunk_specs`."""

    images: ListOf[InputPath] = Field(description="Reference images; a chunk takes one.")


def _parse_reference(value: Any) -> Path:
    if isinstance(value, dict):
        ChunkReferences.model_validate(value)  # errors of the entry come first
        raise wrong("must be a path; or every item must be {chunk, images}, with frame or time in place of chunk")
    return parse_input_path(value)


Reference = Annotated[
    Path, PlainValidator(_parse_reference, json_schema_input_type=str | ChunkReferences), PlainSerializer(written_path)
]
"""A reference image of the job; entries of the first revision are folded before, so that one here has a fault."""
