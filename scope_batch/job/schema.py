"""Defines the job: all fields of a render, typed and checked, with the defaults that need no pipeline or input.

Paths of inputs are absolute, paths of outputs are as written. `None`: the field is absent, the planner decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from scope_batch.core.conditioning import BlendMethod
from scope_batch.core.sound import AudioLength
from scope_batch.errors import ScopeBatchError
from scope_batch.files.access import is_file
from scope_batch.files.film import Film, is_played
from scope_batch.job import rules
from scope_batch.job.checked import Checked
from scope_batch.job.chunk_spec import MAX_SEED, ChunkImage, ChunkPrompt, ChunkSpec, ListOf, Reference, Steps
from scope_batch.job.faults import Fault, wrong
from scope_batch.job.fields import Encoder, LoraScales, Outputs, Processors, StopConditions
from scope_batch.job.legacy import fold_first_revision
from scope_batch.job.paths import public_dict
from scope_batch.job.positions import NO_SOURCE, Source
from scope_batch.job.prompts import Prompts
from scope_batch.job.scalars import (
    Audio,
    ControlRate,
    InputPath,
    InputRate,
    Models,
    NumFrames,
    Rate,
    Seconds,
)
from scope_batch.job.schedule import ATTENTION_BIAS, CONTEXT_SCALE, LORA_SCALE, NOISE_SCALE, Schedule, Scheduled
from scope_batch.pipelines import KNOWN_PIPELINES

VERSION = 1
DEFAULT_FPS = Fraction(16)
DEFAULT_NOISE_SCALE = 0.7
"""Defaults that the planner fills in: in the job, None means that the field is absent."""
Size = Annotated[int, Field(ge=64, le=2048, multiple_of=16)]


def _known_pipeline(name: str) -> str:
    try:
        return KNOWN_PIPELINES.get(name).id
    except ScopeBatchError as error:
        raise wrong(str(error)) from error


def _known_version(version: int) -> int:
    if version != VERSION:
        raise wrong(f"unknown version {version}; this program reads version {VERSION}")
    return version


class Job(Checked):
    """One render. Field names are those of Scope's batch protocol; paths, media and output are additions."""

    pipeline_id: Annotated[str, AfterValidator(_known_pipeline)] = Field(
        default="longlive",
        description="Pipeline that renders the video.",
        json_schema_extra=lambda schema: schema.update(examples=[*KNOWN_PIPELINES.ids()]),
    )
    version: Annotated[int, AfterValidator(_known_version)] = Field(
        default=VERSION, description="Version of this format.", json_schema_extra={"const": VERSION}
    )
    prompt: Prompts = Field(description="What to show: a text, or a list of {text, weight} to blend.")
    num_frames: NumFrames = Field(
        default=64,
        description="Frames delivered, exactly; `input`: as many as the input video.",
        json_schema_extra={"minimum": 1},
    )
    height: Size | None = Field(default=None, description="Pixels. Default: the pipeline's.")
    width: Size | None = Field(default=None, description="Pixels. Default: the pipeline's.")
    seed: Annotated[Schedule[int], Scheduled(0, MAX_SEED, whole=True)] = Field(
        default=Schedule((42,)), description="Base seed, or one per chunk. Related renders: step it by 1000 or more."
    )
    noise_scale: Annotated[Schedule[float], Scheduled(*NOISE_SCALE)] | None = Field(
        default=None,
        description="Video mode: 0 keeps the input, 1 ignores it. May be a schedule. Default: the motion in the input "
        "decides (noise_controller).",
    )
    noise_controller: bool | None = Field(
        default=None, description="Video mode: adapt noise_scale to the motion in the input."
    )
    manage_cache: bool = Field(
        default=True, description="Let changes cut automatically; false: they recompute the KV cache."
    )
    kv_cache_attention_bias: Annotated[Schedule[float], Scheduled(*ATTENTION_BIAS)] | None = Field(
        default=None,
        description="Weight of earlier frames in attention, 1 = plain; only for krea-realtime-video (default 0.3).",
    )
    prompt_interpolation_method: BlendMethod = Field(
        default="linear", description="How weighted prompts blend; slerp takes two."
    )
    denoising_steps: Steps | None = Field(
        default=None, description="Timesteps 1..1000, from noise to image. Default: the pipeline's."
    )
    chunk_specs: ListOf[ChunkSpec] = Field(default=(), description="Changes during the video.")
    chunk_prompts: ListOf[ChunkPrompt] = Field(
        default=(), description="First revision: prompt changes, folded into chunk_specs."
    )

    input_path: InputPath | None = Field(
        default=None,
        description="Video-to-video: mp4 mov mkv webm avi ts gif ..., animated WebP or PNG, .npy [T,H,W,3] uint8, "
        ".bin, a folder of images or a pattern (frames/%05d.png, depth_*.png).",
    )
    input_length: Literal["loop", "hold", "error"] = Field(
        default="loop", description="What happens when the input ends before the job."
    )
    input_fps: InputRate = Field(
        default="native", description="Rate at which the input is read, frames picked by time."
    )
    input_start: Seconds = Field(default=0.0, description='Where the input starts: seconds or "MM:SS.mmm".')
    input_end: Seconds | None = Field(default=None, description='Where the input ends: seconds or "MM:SS.mmm".')
    fit: Literal["crop", "pad", "stretch"] = Field(
        default="crop", description="How the input is fitted to height and width."
    )
    audio: Audio = Field(default="none", description="none, input (the input's sound), or a file.")
    audio_length: AudioLength | None = Field(
        default=None,
        description="When the sound ends before the picture: loop starts it over, hold repeats its last second, stop "
        "is silence. Default: the input's sound loops where its picture does, any other stops.",
    )

    vace_frames: InputPath | None = Field(
        default=None, description="Control video or pattern of images, or .npy/.safetensors [1,3,T,H,W] in -1..1."
    )
    vace_masks: InputPath | None = Field(
        default=None, description="Mask video, white = generate, or an array [1,1,T,H,W] in 0..1."
    )
    vace_ref_images: ListOf[Reference] = Field(
        default=(),
        description="Reference image of every chunk without other VACE inputs; or a list of {chunk, images}.",
    )
    vace_context_scale: Annotated[Schedule[float], Scheduled(*CONTEXT_SCALE)] = Field(
        default=Schedule((1.0,)), description="Strength of VACE. May be a schedule."
    )
    vace_use_input_video: bool = Field(
        default=False, description="Use the input video as VACE control, not as latents."
    )
    vace_length: Literal["error", "hold", "loop", "end"] = Field(
        default="error", description="What happens when control frames or masks end before the job."
    )
    vace_fps: ControlRate | None = Field(
        default=None,
        description="Rate at which control and masks are read, frames picked by time; native: every frame; input: the "
        "same frames as of the input. Default: input where they have as many frames as the input, else native.",
    )
    vace_start: Seconds | None = Field(
        default=None,
        description='Where vace_frames and vace_masks start: seconds or "MM:SS.mmm". Default: as vace_fps.',
    )
    vace_end: Seconds | None = Field(
        default=None,
        description='Where vace_frames and vace_masks end: seconds or "MM:SS.mmm". Default: as vace_fps.',
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
        default="keep", description="What happens to the KV cache when a scale changes."
    )
    lora_merge: Literal["auto", "always", "never"] = Field(default="auto", description="Merge LoRAs into the weights.")

    chunk_grid: Literal["engine", 12] = Field(
        default="engine", description="What `chunk:` counts: true chunks or 12-frame slots."
    )
    cuts: Literal["allow", "warn", "forbid"] = Field(
        default="warn", description="Hard cuts pass, are warned about, or are refused."
    )
    memory_bank: bool = Field(default=False, description="MemFlow's memory bank.")
    pre_processor_id: Processors = Field(
        default=(),
        description="Processors of the input video, before the pipeline: an id, {id, params}, or a list. They keep the "
        "number, rate and size of the frames.",
    )
    post_processor_id: Processors = Field(
        default=(),
        description="Processors of the frames, after the pipeline: an id, {id, params}, or a list. They may change "
        "number, rate and size: num_frames, fps, height and width are the pipeline's, plan shows what is delivered.",
    )
    pre_processor_output: Literal["video", "vace_frames"] = Field(
        default="video", description="Where the pre-processed input goes: into the latents, or through VACE."
    )

    noise_device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="Device that draws the noise; cpu: the same on every machine."
    )
    vae_type: Literal["wan", "lightvae", "tae", "lighttae"] = Field(
        default="wan", description="VAE: wan, lightvae (narrower), tae or lighttae (much smaller)."
    )
    vae_dtype: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="The VAE's number format.")
    quantization: Literal["fp8_e4m3fn"] | None = Field(
        default=None, description="Number format of the backbone's weights."
    )
    speed: Literal["exact", "high"] = Field(
        default="exact",
        description="exact: the pipeline's own mathematics; high: faster on GPUs with fp8, and less exact, so "
        "that other frames come out (the transformer's matrix products, and FlashAttention 3, in e4m3).",
    )
    models: Models | None = Field(
        default=None,
        description="Folder of model files, or a word: tiny, the built-in set; random, random numbers in networks of "
        "the published sizes, for measurements.",
    )

    stop_if: StopConditions = Field(
        default=(),
        description="Ends the render, with what there is kept, when a chunk looks so: sharpness < 0.6 * first (of the "
        "first chunk), flicker > 6 ... A condition or a list. Figures: red, green, blue, contrast, sharpness, motion, "
        "flicker.",
    )
    keep_state: ListOf[Annotated[int, Field(ge=1)]] = Field(
        default=(),
        description="Chunks before which the model's state is kept in the work folder, so that a job that differs from "
        "there on continues from it; the work folder stays when the output is finished.",
    )
    fps: Rate | None = Field(
        default=None, description='Frames per second: 16, 29.97 or "30000/1001". Default: the input\'s, else 16.'
    )
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
    def input_steers(self) -> bool:
        """True if the input video goes through VACE, not into the latents."""
        return self.vace_use_input_video or self.pre_processor_output == "vace_frames"

    @property
    def source(self) -> Source:
        """Texts, folders and positions that the job was read from."""
        return self._source

    def where(self, *loc: str | int) -> str:
        """Return `job.yaml:14:7` of a field, as in where("chunk_specs", 2, "text"); without a file the field's name."""
        return self._source.where(loc)

    def display(self, path: str | Path | None = None, width: int | None = None) -> Film:
        """Return the rendered film, which Jupyter shows as a video if it is the value of a cell. Renders nothing.

        path   the film; None: the first output of the job that browsers play. Without outputs in the job that is
               `<job stem>.mp4`, else `job.mp4`, in the working directory.
        width  of the player in CSS pixels at most.
        Raises MissingInputError if it is not rendered yet, UsageError if browsers do not play it.
        """
        if path is not None:
            return Film(Path(path), width)
        paths = [Path(output.path) for output in self.output] or [Path(f"{self.source.stem}.mp4"), Path("job.mp4")]
        played = [path for path in paths if is_played(path)] or paths
        return Film(next((path for path in played if is_file(path)), played[0]), width)

    def canonical_json(self) -> str:
        """Return the job as one line of JSON: sorted keys, values other than defaults. Equal jobs have the same text,
        and new fields of later versions do not change it."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def to_public_dict(self) -> dict[str, Any]:
        """Return the job for metadata: base names without folders, `${VAR}` as written, defaults left out."""
        values = self.model_dump(mode="json", exclude_defaults=True, exclude={"keep_state", "stop_if"})
        public: dict[str, Any] = public_dict(values, self._source)
        return public
