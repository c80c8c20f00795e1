"""Plans a job: probes its inputs, checks them, and resolves its outputs. Loads no models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from scope_batch.core.conditioning import texts_of
from scope_batch.core.device_memory import DeviceMemory
from scope_batch.core.frame_size import NEAR_AREA, area_times, trained_size
from scope_batch.core.plan import ClipFacts, Plan
from scope_batch.core.sound import SoundFacts
from scope_batch.core.timeline import ClipSource, ClipSourceFacts
from scope_batch.errors import JobError, UnavailableError
from scope_batch.events import Report, silent
from scope_batch.files.access import is_file
from scope_batch.job import Job, check_inputs
from scope_batch.job.faults import Loc
from scope_batch.job.paths import named_inputs
from scope_batch.media.audio import probe_sound
from scope_batch.media.masks import mask_warnings
from scope_batch.media.validate import probe_clip, probe_material, still_notes
from scope_batch.models.folder import TINY, tokenizer_folder
from scope_batch.models.lora.header import check_lora_header
from scope_batch.models.prompt_text import check_prompts
from scope_batch.models.sizes import model_sizes
from scope_batch.models.tiny.vocabulary import unknown_words_warning
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.plan import plan_job, plan_to_dict
from scope_batch.plan.capabilities import unhonoured
from scope_batch.plan.diagnostics import place, places_of_inputs
from scope_batch.plan.forecast.estimate import device_memory, precision_of
from scope_batch.plan.material_fields import all_clip_fields
from scope_batch.plan.processors import device_bytes
from scope_batch.render.fetch_inputs import fetch_inputs
from scope_batch.render.options import RenderOptions
from scope_batch.sinks.output import Output, parse_outputs


def prepare_job(job: Job, report: Report = silent, fetch_limit: int | None = None) -> Plan:
    """Check that the job's inputs exist, probe its clip and other sources, and plan every chunk. Torch-free.

    Inputs in shared storage are fetched before. fetch_limit: most bytes of one to fetch, see `storage.fetch`.
    Raises MissingInputError, or JobError for a job or an input that cannot be rendered, and as `fetch`.
    """
    fetch_inputs(job, report, fetch_limit)
    check_inputs(job)
    _check_models(job)
    _check_loras(job)
    clip = _clip(job)
    plan = plan_job(job, KNOWN_PIPELINES.get(job.pipeline_id), clip, _facts(job), _sound(job, clip))
    _check_prompts(job, plan)
    memory = memory_of(job, plan)
    notes, warnings = _check_stills(job, plan)
    return replace(
        plan,
        memory=memory,
        notes=(*plan.notes, *notes, *_no_forecast(job, plan, memory)),
        warnings=(
            *plan.warnings,
            *warnings,
            *_check_masks(plan),
            *_far_from_training(job, plan),
            *_unknown_words(job, plan),
        ),
    )


def refused_fields(job: Job) -> list[tuple[Loc, str]]:
    """Return the place of each field that the pipeline or the mode cannot honour, and why; `prepare_job` refuses them.

    Raises MissingInputError or JobError for an input that cannot be read.
    """
    fetch_inputs(job)
    check_inputs(job)
    found = unhonoured(job, KNOWN_PIPELINES.get(job.pipeline_id), _facts(job))
    return [(field.loc, field.reason) for field in found if field.refused]


def memory_of(job: Job, plan: Plan, dtype: str = "auto", *, kernels: bool = True) -> DeviceMemory | None:
    """Forecast the GPU memory of the plan; None for a pipeline without models or a VAE of unknown size.

    dtype    dtype of the transformer, as `--dtype`: "auto" is bfloat16.
    kernels  the program's own CUDA kernels run.
    """
    spec = KNOWN_PIPELINES.get(job.pipeline_id)
    if not spec.needs_models:
        return None
    models = None if job.models is None else str(job.models)
    branch_loras = [lora.path for lora in plan.loras if not lora.merged]
    uses_vace = any(chunk.vace is not None for chunk in plan.chunks)
    sizes = model_sizes(spec.id, models, job.vae_type, vace=uses_vace, loras=branch_loras)
    if sizes is None:
        return None
    fp8 = job.quantization is not None or job.speed == "high"
    memory = device_memory(plan, spec, sizes, precision_of(dtype, job.vae_dtype, fp8=fp8, kernels=kernels))
    return replace(memory, processors=device_bytes(plan))


def _check_stills(job: Job, plan: Plan) -> tuple[list[str], list[str]]:
    if not any(chunk.vace is not None and (chunk.vace.stills or chunk.vace.reference) for chunk in plan.chunks):
        return [], []
    return still_notes(plan, places_of_inputs(job))


def _check_masks(plan: Plan) -> list[str]:
    if not any(placement.source.kind == "masks" for placement in plan.placements):
        return []
    return mask_warnings(plan)


def memory_under(job: Job, plan: Plan, options: RenderOptions) -> tuple[DeviceMemory | None, tuple[str, ...]]:
    """Return the forecast of device memory with `--device`, `--dtype`, `--kernels` and `--low-vram`, and notes."""
    if plan.memory is None or options.device == "cpu":
        return None, ()
    memory: DeviceMemory | None = plan.memory
    if options.dtype == "float32" or options.kernels == "off":
        memory = memory_of(job, plan, options.dtype, kernels=options.kernels == "auto")
    assert memory is not None
    if options.low_vram == "on":
        moved, left = decimal(memory.offloadable), decimal(memory.peak - memory.offloadable)
        note = f"--low-vram on: {moved} of weights are kept in host memory, about {left} stay on the device"
        return memory, (note,)
    if options.low_vram == "cast":
        return memory, ("--low-vram cast: how much memory fp8 weights save is not forecast",)
    return memory, ()


def _far_from_training(job: Job, plan: Plan) -> tuple[str, ...]:
    spec = KNOWN_PIPELINES.get(job.pipeline_id)
    if not spec.needs_models or job.models in ("tiny", "random"):
        return ()
    times = area_times(plan.height, plan.width, spec.trained_size)
    if NEAR_AREA[0] <= times <= NEAR_AREA[1]:
        return ()
    height, width = trained_size(plan.height, plan.width, spec.trained_size)
    trained = f"{spec.trained_size[1]}x{spec.trained_size[0]}"
    return (
        f"{plan.width}x{plan.height} has {times:.2g} times the area of {trained}, on which {spec.id} was trained: "
        f"quality may suffer ({width}x{height} is near it)",
    )


def _no_forecast(job: Job, plan: Plan, memory: DeviceMemory | None) -> tuple[str, ...]:
    if memory is None and (needed := device_bytes(plan)):
        return (f"the models of the processors take about {decimal(needed)} on the device",)
    if memory is not None or not KNOWN_PIPELINES.get(job.pipeline_id).needs_models:
        return ()
    engine = f"{job.pipeline_id} with vae_type: {job.vae_type}"
    return (f"device memory is not forecast for {engine}; --low-vram auto assumes that it suffices",)


def outputs_of(
    job: Job, paths: Sequence[str] = (), stdout_format: str | None = None, stem: str = "job"
) -> tuple[Output, ...]:
    """Return the outputs: `paths` (`-` for standard output), else those of the job, else `./<stem>.mp4`.

    Raises JobError for an output that cannot be written.
    """
    job_outputs = [output.model_dump(exclude_none=True) for output in job.output]
    return parse_outputs(job_outputs, paths, stdout_format, stem, job.video.model_dump(exclude_none=True))


def unused_by_outputs(job: Job, outputs: Sequence[Output], paths: Sequence[str] = ()) -> tuple[str, ...]:
    """Return warnings about output settings of the job that no output uses. `paths`: as for `outputs_of`."""
    own = [] if paths else [output.model_dump(exclude_none=True) for output in job.output]
    encoded = [index for index, output in enumerate(outputs) if output.options and output.format != "nut"]
    names = ", ".join(output.name for output in outputs)
    warnings = []
    for key in job.video.model_dump(exclude_none=True):
        if not encoded:
            warnings.append(f"{place(job, 'video', key)} has no effect: no output is compressed video ({names})")
        elif own and all(key in own[index] for index in encoded):
            warnings.append(f"{place(job, 'video', key)} has no effect: every compressed output has its own {key}")
    if job.audio != "none" and not any(output.options for output in outputs):
        warnings.append(f"{place(job, 'audio')} has no effect: no output carries sound ({names})")
    return tuple(warnings)


def unused_by_resume(job: Job, outputs: Sequence[Output], options: RenderOptions) -> tuple[str, ...]:
    """Return warnings about what asks for stored chunks, where none are stored."""
    asked = {
        place(job, "keep_state"): bool(job.keep_state),
        "--resume": options.resume is True,
        "--checkpoint-every": bool(options.checkpoint_every),
        "--work-dir": options.work_dir is not None,
        "--reuse": options.reuse is not None,
        "--keep-work": options.keep_work,
    }
    if options.checkpoint_every == 0:
        reason = "--checkpoint-every 0 stores no chunks"
    elif options.work_dir is None and all(output.path is None for output in outputs):
        reason = "no output is a file; --work-dir says where to store chunks"
    else:
        return ()
    return tuple(f"{name} has no effect: {reason}" for name, is_set in asked.items() if is_set)


def plan_document(job: Job, plan: Plan, outputs: Sequence[Output]) -> dict[str, Any]:
    """Return the document of `plan --json`: the plan, the engine's settings and the outputs."""
    return {
        **plan_to_dict(plan),
        "models": None if job.models is None else str(job.models),
        "vae_type": job.vae_type,
        "vae_dtype": job.vae_dtype,
        "quantization": job.quantization,
        "speed": job.speed,
        "noise_device": job.noise_device,
        "audio": str(job.audio),
        "keep_state": list(job.keep_state),
        "stop_if": list(map(str, job.stop_if)),
        "outputs": [
            {"path": output.name, "format": output.format, **(asdict(output.options) if output.options else {})}
            for output in outputs
        ],
    }


def _clip(job: Job) -> ClipFacts | None:
    if job.input_path is None:
        return None
    rate = None if job.input_fps == "native" else job.input_fps
    try:
        return probe_clip(job.input_path, rate, job.input_start, job.input_end)
    except JobError as error:
        raise JobError(*(f"{place(job, 'input_path')}: {line}" for line in error.problems)) from error


def _sound(job: Job, clip: ClipFacts | None) -> SoundFacts | None:
    """Probe the sound track. None for a silent job, and for a clip without sound, which the planner refuses."""
    if job.audio == "none" or (job.audio == "input" and (clip is None or not clip.has_audio)):
        return None
    try:
        if job.audio != "input":
            return probe_sound(Path(job.audio))
        assert job.input_path is not None, "the job model lets `input` through only beside an input_path"
        return probe_sound(job.input_path, of_clip=True)
    except JobError as error:
        raise JobError(*(f"{place(job, 'audio')}: {line}" for line in error.problems)) from error


def _check_models(job: Job) -> None:
    """Raise UnavailableError, with the place in the job, if `models` is a file."""
    if isinstance(job.models, Path) and KNOWN_PIPELINES.get(job.pipeline_id).needs_models and is_file(job.models):
        where = job.where("models")
        field = f"{where}: models" if ":" in where else where
        raise UnavailableError(f"{field}: {job.models} is a file; a folder of model files is needed")


def _check_loras(job: Job) -> None:
    """Checks LoRA files by their headers, so that a plan refuses a foreign file too."""
    problems: list[str] = []
    for loc, path in named_inputs(job):
        if loc[-2:-1] != ("lora_scales",):
            continue
        try:
            check_lora_header(path)
        except JobError as error:
            problems += [f"{job.where(*loc)}: lora_scales: {line}" for line in error.problems]
    if problems:
        raise JobError(*problems)


def _check_prompts(job: Job, plan: Plan) -> None:
    """Refuse a prompt of too many tokens, if the tokenizer is available; loads no models."""
    models = None if job.models is None else str(job.models)
    if (tokenizer := tokenizer_folder(job.pipeline_id, models)) is not None:
        check_prompts(texts_of(chunk.conditioning for chunk in plan.chunks), tokenizer)


def _unknown_words(job: Job, plan: Plan) -> tuple[str, ...]:
    if job.models != TINY or not KNOWN_PIPELINES.get(job.pipeline_id).needs_models:
        return ()
    warning = unknown_words_warning(texts_of(chunk.conditioning for chunk in plan.chunks))
    return () if warning is None else (warning,)


def _facts(job: Job) -> dict[ClipSource, ClipSourceFacts]:
    """Probe all sources; every damaged file is a problem of its own, at the first field that names it."""
    facts: dict[ClipSource, ClipSourceFacts] = {}
    problems: dict[ClipSource, list[str]] = {}
    for clip_field in all_clip_fields(job):
        if clip_field.source in facts or clip_field.source in problems:
            continue
        try:
            facts[clip_field.source] = probe_material(clip_field.source)
        except JobError as error:
            problems[clip_field.source] = [f"{clip_field.where}: {line}" for line in error.problems]
    if problems:
        raise JobError(*(line for lines in problems.values() for line in lines))
    return facts
