"""The job: every field of a render, typed and checked, no default resolved that depends on a pipeline or an input.

Paths of inputs are absolute, paths of outputs are as written. `None` means "not given": the planner decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    Strict,
    ValidationError,
    model_validator,
)

from scope_batch.chunk import BlendMethod
from scope_batch.job import rules, unavailable
from scope_batch.job.faults import Fault, raise_all, shown, wrong
from scope_batch.job.first_revision import fold_first_revision
from scope_batch.job.lora_paths import LoraScales
from scope_batch.job.outputs import Encoder, Outputs
from scope_batch.job.prompts import STRICT, Prompts, WeightedPrompt
from scope_batch.job.public import public_dict
from scope_batch.job.scalars import Audio, InputPath, InputRate, Models, NumFrames, Rate, Seconds, parse_input_path
from scope_batch.job.schedule import ATTENTION_BIAS, CONTEXT_SCALE, LORA_SCALE, NOISE_SCALE, Schedule, Scheduled
from scope_batch.job.source import NO_SOURCE, Source
from scope_batch.pipelines import PIPELINES

T = TypeVar("T")
ListOf = Annotated[tuple[T, ...], Strict(False)]


def _not_empty(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise wrong("must not be empty")
    return values


VERSION = 1
MAX_SEED = 2**53
Size = Annotated[int, Field(ge=64, le=2048, multiple_of=16)]
NoiseScale = Annotated[float, Field(ge=0, le=1)]
AttentionBias = Annotated[float, Field(ge=0.01, le=1)]
ContextScale = Annotated[float, Field(ge=0, le=2)]
LoraScale = Annotated[float, Field(ge=-10, le=10)]
NotEmpty = AfterValidator(_not_empty)
Steps = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Strict(False), NotEmpty]
Index = Annotated[int, Field(ge=0)]
Shape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Strict(False), NotEmpty]


def _known_pipeline(name: str) -> str:
    if name not in PIPELINES:
        raise wrong(f"unknown pipeline {shown(name)}; available: {', '.join(PIPELINES)}")
    return name


def _known_version(version: int) -> int:
    if version != VERSION:
        raise wrong(f"unknown version {version}; this program reads version {VERSION}")
    return version


class _Checked(BaseModel):
    """Null means not given; what the fields alone cannot tell is found by `faults`, together with their own errors."""

    model_config = STRICT

    @classmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        raise NotImplementedError

    @classmethod
    def folded(cls, written: dict[str, Any]) -> dict[str, Any]:
        """Older spellings as newer ones."""
        return written

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        written = cls.folded({key: value for key, value in data.items() if value is not None})
        refused = unavailable.refused(cls, written)
        faults = [*refused, *cls.faults(written)]
        accepted = {key: value for key, value in written.items() if (key,) not in {fault.loc for fault in refused}}
        try:
            made = handler(accepted)
        except ValidationError as error:
            raise_all(faults, error)
            raise
        raise_all(faults)
        return made


class _Placed(_Checked):
    """Exactly one of `chunk`, `frame` and `time` names the place."""

    chunk: Index | None = Field(default=None, description="Chunk index from 0; with chunk_grid: 12, of a slot.")
    frame: Index | None = Field(default=None, description="Output frame from 0: the chunk that delivers it.")
    time: Seconds | None = Field(
        default=None, description='Seconds or "MM:SS.mmm": the chunk that delivers that frame.'
    )

    @classmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        return list(rules.place_faults(written))


class ChunkSpec(_Placed):
    """What changes at one place of the video."""

    text: str | None = Field(default=None, description="New prompt, in force from here on.")
    prompts: Prompts | None = Field(default=None, description="New prompts that blend, in force from here on.")
    prompt_interpolation_method: BlendMethod | None = Field(default=None, description="How the prompts blend.")
    transition_target_prompts: Prompts | None = Field(
        default=None, description="The same as prompts: where a transition leads."
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
        default=None, description="Weight of cached frames in this chunk."
    )
    reset_cache: bool = Field(default=False, description="Start anew here: a hard cut.")
    manage_cache: bool | None = Field(
        default=None, description="Let changes cut or recache by themselves in this chunk."
    )

    lora_scales: LoraScales[LoraScale] | None = Field(
        default=None, description="LoRA file: scale, from here on; with a schedule, in this chunk."
    )
    first_frame_image: InputPath | None = Field(default=None, description="Image that this chunk starts with.")
    last_frame_image: InputPath | None = Field(default=None, description="Image that this chunk ends with.")
    vace_ref_images: ListOf[InputPath] = Field(default=(), description="Reference image of this chunk; it takes one.")
    vace_context_scale: ContextScale | None = Field(default=None, description="Strength of VACE in this chunk.")
    vace_temporally_locked: bool = Field(
        default=True, description="Control and masks lie on one timeline; false: in this chunk alone."
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
        """The prompts that this entry leads to, whichever field gave them."""
        if self.text is not None:
            return (WeightedPrompt(text=self.text),)
        return self.prompts or self.transition_target_prompts


class ChunkPrompt(_Placed):
    """First revision of the protocol: folded into `chunk_specs`."""

    text: str = Field(description="New prompt, in force from here on.")


class ChunkImage(_Placed):
    """First revision of the protocol: folded into `chunk_specs`."""

    image: InputPath = Field(description="Image file.")


class ChunkReferences(_Placed):
    """First revision of the protocol: folded into `chunk_specs`."""

    images: ListOf[InputPath] = Field(description="Reference images; a chunk takes one.")


def _parse_reference(value: Any) -> Path:
    if isinstance(value, dict):
        raise wrong("must be a path; or every item must be {chunk, images}, with frame or time in place of chunk")
    return parse_input_path(value)


Reference = Annotated[
    Path, PlainValidator(_parse_reference, json_schema_input_type=str | ChunkReferences), PlainSerializer(str)
]


class Job(_Checked):
    """One render. Field names are those of Scope's batch protocol; local additions are paths, media and output."""

    pipeline_id: Annotated[str, AfterValidator(_known_pipeline)] = Field(
        default="longlive", description="Which pipeline renders.", json_schema_extra={"examples": [*PIPELINES]}
    )
    version: Annotated[int, AfterValidator(_known_version)] = Field(
        default=VERSION, description="Version of this format.", json_schema_extra={"const": VERSION}
    )
    prompt: Prompts = Field(description="What to show: a text, or a list of {text, weight} that blend.")
    num_frames: NumFrames = Field(
        default=64,
        description="Frames delivered, exactly; `input`: as many as the input video.",
        json_schema_extra={"minimum": 1},
    )
    height: Size | None = Field(default=None, description="Pixels, a multiple of 16 in 64..2048.")
    width: Size | None = Field(default=None, description="Pixels, a multiple of 16 in 64..2048.")
    seed: Annotated[Schedule[int], Scheduled(0, MAX_SEED, whole=True)] = Field(
        default=Schedule((42,)), description="Base seed, or one per chunk. Related renders: step it by 1000 or more."
    )
    noise_scale: Annotated[Schedule[float], Scheduled(*NOISE_SCALE)] | None = Field(
        default=None, description="Video mode: 0 keeps the input, 1 ignores it. May be a schedule."
    )
    noise_controller: bool | None = Field(
        default=None, description="Video mode: adapt noise_scale to the motion in the input."
    )
    manage_cache: bool = Field(default=True, description="Let changes cut by themselves; without it they recache.")
    kv_cache_attention_bias: Annotated[Schedule[float], Scheduled(*ATTENTION_BIAS)] | None = Field(
        default=None, description="Weight of cached frames in attention, 1 = plain attention."
    )
    prompt_interpolation_method: BlendMethod = Field(
        default="linear", description="How weighted prompts blend; slerp takes two."
    )
    denoising_steps: Steps | None = Field(default=None, description="Timesteps 1..1000, from noise to image.")
    chunk_specs: ListOf[ChunkSpec] = Field(default=(), description="What changes on the way.")
    chunk_prompts: ListOf[ChunkPrompt] = Field(
        default=(), description="First revision: prompt changes, folded into chunk_specs."
    )

    input_path: InputPath | None = Field(
        default=None,
        description="Video-to-video: mp4 mov mkv webm gif, .npy [T,H,W,3] uint8, .bin, or a folder of images.",
    )
    input_length: Literal["loop", "hold", "error"] = Field(
        default="loop", description="When the input ends before the job."
    )
    input_fps: InputRate = Field(
        default="native", description="Rate at which the input is read, frames picked by time."
    )
    input_start: Seconds = Field(default=0.0, description='Where the input starts: seconds or "MM:SS.mmm".')
    input_end: Seconds | None = Field(default=None, description='Where the input ends: seconds or "MM:SS.mmm".')
    fit: Literal["crop", "pad", "stretch"] = Field(default="crop", description="How the input meets height and width.")
    audio: Audio = Field(default="none", description="none, input (the input's sound), or a file.")

    vace_frames: InputPath | None = Field(
        default=None, description="Control video, or .npy/.safetensors [1,3,T,H,W] in -1..1."
    )
    vace_masks: InputPath | None = Field(
        default=None, description="Mask video, white = generate, or an array [1,1,T,H,W] in 0..1."
    )
    vace_ref_images: ListOf[Reference] = Field(
        default=(),
        description="Reference image of every chunk that nothing else steers; or a list of {chunk, images}.",
    )
    vace_context_scale: Annotated[Schedule[float], Scheduled(*CONTEXT_SCALE)] = Field(
        default=Schedule((1.0,)), description="Strength of VACE. May be a schedule."
    )
    vace_use_input_video: bool = Field(
        default=False, description="The input video steers through VACE, not through the latents."
    )
    vace_length: Literal["error", "hold", "loop", "end"] = Field(
        default="error", description="When control frames or masks end before the job."
    )
    first_frame_image: InputPath | None = Field(default=None, description="Image that the video starts with.")
    last_frame_image: InputPath | None = Field(default=None, description="Image that the video ends with.")
    first_frames: ListOf[ChunkImage] = Field(default=(), description="First revision: first images by chunk.")
    last_frames: ListOf[ChunkImage] = Field(default=(), description="First revision: last images by chunk.")
    data_blob_path: InputPath | None = Field(default=None, description="Binary data that shapes and offsets refer to.")

    lora_scales: LoraScales[Annotated[Schedule[float], Scheduled(*LORA_SCALE)]] = Field(
        default={}, description="LoRA file (.safetensors): scale, which may be a schedule."
    )
    on_lora_change: Literal["keep", "recache", "cut"] = Field(
        default="keep", description="The KV cache when a scale changes."
    )
    lora_merge: Literal["auto", "always", "never"] = Field(default="auto", description="Merge LoRAs into the weights.")

    chunk_grid: Literal["engine", 12] = Field(
        default="engine", description="What `chunk:` counts: true chunks or 12-frame slots."
    )
    cuts: Literal["allow", "warn", "forbid"] = Field(default="warn", description="What the plan says of hard cuts.")
    memory_bank: bool = Field(default=False, description="MemFlow's memory bank.")
    pre_processor_id: str | ListOf[str] | None = Field(default=None, description="Processors ahead of the pipeline.")
    post_processor_id: str | ListOf[str] | None = Field(default=None, description="Processors behind the pipeline.")
    pre_processor_output: Literal["video", "vace_frames"] = Field(
        default="video", description="Where processed frames go."
    )

    noise_device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="Where noise is drawn; cpu repeats everywhere."
    )
    vae_type: Literal["wan", "lightvae", "tae", "lighttae"] = Field(default="wan", description="Which VAE.")
    vae_dtype: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="The VAE's number format.")
    quantization: Literal["fp8_e4m3fn"] | None = Field(
        default=None, description="Number format of the backbone's weights."
    )
    models: Models | None = Field(
        default=None, description="Folder of model files, or the word tiny: the built-in set."
    )

    fps: Rate | None = Field(default=None, description='Frames per second: 16, 29.97 or "30000/1001".')
    output: Outputs = Field(
        default=(), description="Where the frames go: a path, a map with path and encoder, or a list of these."
    )
    video: Encoder = Field(default=Encoder(), description="Encoder options for every video output.")

    _source: Source = PrivateAttr(NO_SOURCE)

    @classmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        return rules.job_faults(written)

    @classmethod
    def folded(cls, written: dict[str, Any]) -> dict[str, Any]:
        return fold_first_revision(written)[0]

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(context, Source):
            self._source = context

    @property
    def source(self) -> Source:
        """What the job was read from."""
        return self._source

    def where(self, *loc: str | int) -> str:
        """`job.yaml:14:7` of a field, such as where("chunk_specs", 2, "text"); without a file the field's name."""
        return self._source.where(loc)

    def canonical_json(self) -> str:
        """The job as one line of JSON, keys sorted, values equal to their defaults left out: two jobs that ask for the
        same have the same text, and new fields of later versions do not change it."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def to_public_dict(self) -> dict[str, Any]:
        """The job for metadata: no local folders (base names only), `${VAR}` as written, defaults left out."""
        public: dict[str, Any] = public_dict(self.model_dump(mode="json", exclude_defaults=True), self._source)
        return public
