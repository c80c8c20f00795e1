"""Resolves the settings that hold for the whole job: every default is decided in this module or in the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from scope_batch.core.conditioning import BlendMethod, Prompt
from scope_batch.core.geometry import PROTOCOL_SLOT_FRAMES, Mode
from scope_batch.core.plan import ClipFacts
from scope_batch.job import ChunkSpec, Job
from scope_batch.job.schedule import Schedule
from scope_batch.job.schema import DEFAULT_FPS, DEFAULT_NOISE_SCALE
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan.chunk_overrides import normalised
from scope_batch.plan.entries import Grid

RESOLVED_DEFAULTS = {"noise_scale": DEFAULT_NOISE_SCALE, "noise_controller": False, "kv_cache_attention_bias": 1.0}
"""Fields with default None in a job file -> value that is accepted where the field has no effect."""
MODES: tuple[Mode, ...] = ("text", "video")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the whole render. Sizes in pixels, steps are timesteps in 0..1000.

    mode  mode of every chunk without an input video of its own.
    """

    spec: PipelineSpec
    mode: Mode
    grid: Grid
    num_frames: int
    fps: Fraction
    height: int
    width: int
    prompts: tuple[Prompt, ...]
    blend_method: BlendMethod
    seeds: Schedule[int]
    noise_scales: Schedule[float]
    noise_controller: bool
    denoising_steps: Mapping[Mode, tuple[int, ...]]
    manage_cache: bool
    on_lora_change: Literal["keep", "recache", "cut"]


def default_of(field: str) -> Any:
    """Return the schema's default of a field of the job or of its entries; for a schedule its number."""
    if field in RESOLVED_DEFAULTS:
        return RESOLVED_DEFAULTS[field]
    default = (Job if field in Job.model_fields else ChunkSpec).model_fields[field].default
    return default.constant if isinstance(default, Schedule) else default


def mode_of(job: Job) -> Mode:
    return "video" if job.input_path is not None and not job.input_steers else "text"


def resolve(job: Job, spec: PipelineSpec, clip: ClipFacts | None) -> Settings:
    """Resolve all defaults. Raises ValueError for a job with an input video if `clip` is None."""
    mode = mode_of(job)
    if job.input_path is not None and clip is None:
        raise ValueError("a job with an input video needs the facts of its clip")
    num_frames = _num_frames(job, clip)
    return Settings(
        spec=spec,
        mode=mode,
        grid=Grid(job.chunk_grid == PROTOCOL_SLOT_FRAMES, num_frames),
        num_frames=num_frames,
        fps=_fps(job, clip),
        height=spec.height if job.height is None else job.height,
        width=spec.width if job.width is None else job.width,
        prompts=normalised(job.prompt),
        blend_method=job.prompt_interpolation_method,
        seeds=job.seed,
        noise_scales=job.noise_scale or Schedule((DEFAULT_NOISE_SCALE,)),
        noise_controller=_noise_controller(job),
        denoising_steps={each: job.denoising_steps or spec.steps(each) for each in MODES},
        manage_cache=job.manage_cache,
        on_lora_change=job.on_lora_change,
    )


def _noise_controller(job: Job) -> bool:
    """Return the default: on unless a noise scale is set anywhere, which would count for 10 % under the controller."""
    if job.noise_controller is not None:
        return job.noise_controller
    return job.noise_scale is None and all(entry.noise_scale is None for entry in job.chunk_specs)


def _num_frames(job: Job, clip: ClipFacts | None) -> int:
    if job.num_frames != "input":
        return job.num_frames
    assert clip is not None, "the job model lets `input` through only beside an input_path"
    return clip.frames


def _fps(job: Job, clip: ClipFacts | None) -> Fraction:
    if job.fps is not None:
        return job.fps
    if clip is None:
        return DEFAULT_FPS
    return clip.fps if job.input_fps == "native" else job.input_fps
