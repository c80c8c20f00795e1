"""Lists which pipelines and modes honour which fields. A field that cannot be honoured is refused, never ignored.

If such a field is set to its default, that is a note; if it is set to another value, a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scope_batch.job.schedule import Schedule
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan.diagnostics import Diagnostics, place
from scope_batch.plan.loras import has_loras
from scope_batch.plan.material_fields import CONTROL, Facts, all_clip_fields
from scope_batch.plan.settings import default_of, mode_of
from scope_batch.processors import PROCESSORS

if TYPE_CHECKING:
    from scope_batch.job import ChunkSpec, Job


@dataclass(frozen=True, slots=True)
class Context:
    """Inputs and features of a job, as far as capabilities depend on them.

    clip            there is an input video; video: some chunk is made from video; sound: there is a sound track.
    control         there are control frames or masks of the whole job; steered: there is any input of VACE.
    moving          some control has more than one frame; moving_control: some control of the whole job does.
    fitted          pictures are resized; loras: there are LoRAs; processed: there are pre-processors.
    models          the pipeline or a processor needs model files.
    steering        the field that sends the input video through VACE.
    """

    spec: PipelineSpec
    clip: bool
    video: bool
    sound: bool
    control: bool
    moving: bool
    moving_control: bool
    steered: bool
    fitted: bool
    loras: bool
    processed: bool
    models: bool
    steering: str

    @property
    def no_video(self) -> str:
        return f"the input video steers through VACE ({self.steering})" if self.clip else NO_INPUT


def context_of(job: Job, spec: PipelineSpec, facts: Facts) -> Context:
    clip_fields = list(all_clip_fields(job))
    kinds = {clip_field.source.kind for clip_field in clip_fields}
    clip, control = job.input_path is not None, job.vace_frames is not None or job.vace_masks is not None
    moving = [
        clip_field
        for clip_field in clip_fields
        if clip_field.source.kind in CONTROL and clip_field.source.part is None and not facts[clip_field.source].still
    ]
    uses = (*job.pre_processor_id, *job.post_processor_id)
    images = any(getattr(holder, field) for holder in (job, *job.chunk_specs) for field in IMAGE_FIELDS)
    return Context(
        spec=spec,
        clip=clip,
        video=mode_of(job) == "video" or "video" in kinds,
        sound=job.audio != "none",
        control=control,
        moving=bool(moving),
        moving_control=any(clip_field.of_job for clip_field in moving),
        steered=bool(kinds & {*CONTROL}) or images or job.input_steers,
        fitted=clip or not all(facts[clip_field.source].exact for clip_field in clip_fields),
        loras=has_loras(job),
        processed=bool(job.pre_processor_id),
        models=spec.needs_models or any(PROCESSORS.get(use.id).model is not None for use in uses),
        steering="vace_use_input_video" if job.vace_use_input_video else "pre_processor_output",
    )


@dataclass(frozen=True, slots=True)
class Capability:
    """`field`, at request or chunk level, has an effect only where `honoured`. `reason`: why it has none elsewhere.

    of_models  about a model's files or numbers: a pipeline without models only notes it, so that the slate renders
               every job.
    """

    field: str
    honoured: Callable[[Context], bool]
    reason: str
    of_models: bool = False

    @property
    def default(self) -> Any:
        return default_of(self.field)


def _with_vace(context: Context) -> bool:
    return context.spec.vace


def _with_bias(context: Context) -> bool:
    return context.spec.attention_bias is not None


NO_INPUT = "there is no input video (input_path)"
NO_LORA = "the job uses no LoRA (lora_scales)"
NO_VACE = "{pipeline} has no VACE"
NO_MOVING_CONTROL = "the job has no vace_frames or vace_masks with more than one frame"
IMAGE_FIELDS = ("first_frame_image", "last_frame_image", "vace_ref_images")

CAPABILITIES = (
    Capability("noise_scale", lambda job: job.video, "{no_video}"),
    Capability("noise_controller", lambda job: job.video, "{no_video}"),
    Capability("input_length", lambda job: job.clip, NO_INPUT),
    Capability("input_fps", lambda job: job.clip, NO_INPUT),
    Capability("input_start", lambda job: job.clip, NO_INPUT),
    Capability("input_end", lambda job: job.clip, NO_INPUT),
    Capability("pre_processor_id", lambda job: job.clip or job.video, NO_INPUT),
    Capability("pre_processor_output", lambda job: job.processed, "there is no pre_processor_id"),
    Capability("audio_length", lambda job: job.sound, "there is no sound (audio)"),
    Capability("fit", lambda job: job.fitted, "there is no video to fit"),
    Capability("vace_frames", _with_vace, NO_VACE),
    Capability("vace_masks", _with_vace, NO_VACE),
    Capability("vace_frames_offset", _with_vace, NO_VACE),
    Capability("vace_masks_offset", _with_vace, NO_VACE),
    Capability("first_frame_image", _with_vace, NO_VACE),
    Capability("last_frame_image", _with_vace, NO_VACE),
    Capability("vace_ref_images", _with_vace, NO_VACE),
    Capability("vace_use_input_video", _with_vace, NO_VACE),
    Capability("vace_context_scale", lambda job: job.steered, "nothing steers through VACE"),
    Capability("vace_length", lambda job: job.control, "the job has no vace_frames or vace_masks"),
    Capability("vace_fps", lambda job: job.moving, "there are no vace_frames or vace_masks with more than one frame"),
    Capability("vace_start", lambda job: job.moving_control, NO_MOVING_CONTROL),
    Capability("vace_end", lambda job: job.moving_control, NO_MOVING_CONTROL),
    Capability("vae_type", lambda job: job.spec.needs_models, "{pipeline} has no VAE", of_models=True),
    Capability("vae_dtype", lambda job: job.spec.needs_models, "{pipeline} has no VAE", of_models=True),
    Capability("noise_device", lambda job: job.spec.needs_models, "{pipeline} draws no noise", of_models=True),
    Capability("models", lambda job: job.models, "{pipeline} needs no model files", of_models=True),
    Capability("quantization", lambda job: job.spec.needs_models, "{pipeline} has no weights", of_models=True),
    Capability("speed", lambda job: job.spec.needs_models, "{pipeline} has no weights", of_models=True),
    Capability("on_lora_change", lambda job: job.loras, NO_LORA),
    Capability("lora_merge", lambda job: job.loras, NO_LORA),
    Capability("memory_bank", lambda job: job.spec.memory_bank, "{pipeline} has no memory bank", of_models=True),
    Capability("kv_cache_attention_bias", _with_bias, "{pipeline} has no such bias", of_models=True),
)


@dataclass(frozen=True, slots=True)
class Unhonoured:
    """A field that is set and has no effect. `refused`: it is set to another value than `default`."""

    loc: tuple[str | int, ...]
    reason: str
    default: Any
    refused: bool


def unhonoured(job: Job, spec: PipelineSpec, facts: Facts) -> Iterator[Unhonoured]:
    """Yield every field of the job that the pipeline, or the mode, cannot honour."""
    context = context_of(job, spec, facts)
    for capability in CAPABILITIES:
        if capability.honoured(context):
            continue
        reason = capability.reason.format(pipeline=spec.id, no_video=context.no_video)
        noted_only = capability.of_models and not spec.needs_models
        for loc, value in _set_values(job, capability.field):
            refused = not noted_only and not _is_default(value, capability.default)
            yield Unhonoured(loc, reason, capability.default, refused)


def check(job: Job, spec: PipelineSpec, facts: Facts, diagnostics: Diagnostics) -> None:
    for found in unhonoured(job, spec, facts):
        where = place(job, str(found.loc[0]), *found.loc[1:])
        if not found.refused:
            diagnostics.notes.append(f"{where} has no effect: {found.reason}")
        else:
            has_default = found.default not in (None, ())
            allowed = f" (only its default is allowed here: {_yaml_word(found.default)})" if has_default else ""
            diagnostics.problems.append(f"{where}: cannot be honoured, {found.reason}{allowed}")


def _set_values(job: Job, field: str) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if field in job.model_fields_set:
        yield (field,), getattr(job, field)
    for index, entry in enumerate(job.chunk_specs):
        if _sets(entry, field):
            yield ("chunk_specs", index, field), getattr(entry, field)


def _sets(entry: ChunkSpec, field: str) -> bool:
    return field in entry.model_fields_set


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, Schedule):
        return bool(value.constant == default)
    return bool(value == default)


def _yaml_word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
