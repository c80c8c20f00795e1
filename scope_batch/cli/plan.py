"""`plan`: prints what jobs do, chunk by chunk, and where their frames go, without loading anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.text import Text

from scope_batch.cli.console import CommandConsole
from scope_batch.cli.documents import print_json, print_rich, print_text
from scope_batch.cli.output_patterns import check_distinct
from scope_batch.cli.queued_job import QueuedJob, name_jobs
from scope_batch.errors import EXIT_CHECK_FAILED, EXIT_OK
from scope_batch.media.validate import check_material
from scope_batch.plan.diagnostics import places_of_inputs
from scope_batch.plan.view.table import render_plan
from scope_batch.plan.view.text import clock
from scope_batch.render.engine_pool import unused_options
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import (
    memory_under,
    outputs_of,
    plan_document,
    prepare_job,
    unused_by_outputs,
    unused_by_resume,
)
from scope_batch.storage.fetch import PLAN_BYTES

if TYPE_CHECKING:
    from scope_batch.core.plan import Plan
    from scope_batch.job import Job
    from scope_batch.sinks.output import Output


def print_plans(
    arguments: Sequence[str],
    overrides: Sequence[str],
    options: RenderOptions,
    console: CommandConsole,
    *,
    sweeps: Sequence[str] = (),
    as_json: bool = False,
    strict: bool = False,
    fetch: bool = False,
) -> int:
    """Print the plan of every job; one that fails does not stop the others. Returns the first failure's code.

    As JSON the plan of one job is an object, the plans of several are a list of such objects, each with its "job" and
    its values of a sweep. `options` still has placeholders such as `{job}`. fetch: large inputs in shared storage are
    fetched, too.
    """
    named = name_jobs(arguments, overrides, sweeps, options)
    total, codes = len(named), []
    jobs: list[QueuedJob] = []
    plans: list[Plan] = []
    documents: list[dict[str, Any]] = []
    for position, each in enumerate(named, 1):
        with console.boundary(each.label) as boundary:
            job = each.queued(position, options)
            jobs.append(job)
            plan, outputs = _plan_of(job, None if fetch else PLAN_BYTES)
            plans.append(plan)
            if as_json:
                head: dict[str, Any] = {"job": each.argument} if total > 1 else {}
                if each.swept:
                    head = {"job": each.argument, "sweep": dict(each.swept)}
                documents.append(head | plan_document(job.job, plan, outputs))
            else:
                if total > 1:
                    print_text(f"job {position} of {total}: {each.label}\n")
                print_rich(*render_plan(plan, [*_output_lines(job.job, outputs)]).renderables)
        codes.append(boundary.exit_code)
    check_distinct([job.named_outputs for job in jobs])
    if as_json:
        if documents:
            print_json(documents if total > 1 else documents[0])
    elif total > 1:
        seconds = float(sum(plan.num_frames / plan.fps for plan in plans))
        frames = sum(plan.num_frames for plan in plans)
        print_text(f"{len(plans)} of {total} jobs planned: {frames} frames, {clock(seconds)} of video\n")
    warned = strict and any(plan.warnings for plan in plans)
    return next((code for code in codes if code), EXIT_CHECK_FAILED if warned else EXIT_OK)


def _plan_of(queued: QueuedJob, fetch_limit: int | None) -> tuple[Plan, tuple[Output, ...]]:
    """Return the plan with its diagnostics, and the outputs. Raises the errors that a render would raise before it
    loads anything."""
    job, options = queued.job, queued.options
    plan = prepare_job(job, fetch_limit=fetch_limit)
    outputs = outputs_of(job, options.outputs, options.output_format, queued.stem)
    if plan.placements or any(chunk.vace is not None for chunk in plan.chunks):
        check_material(plan, places_of_inputs(job))
    warnings = (
        *unused_by_outputs(job, outputs, options.outputs),
        *unused_options(plan, options),
        *unused_by_resume(job, outputs, options),
    )
    memory, notes = memory_under(job, plan, options)
    notes = (*plan.notes, *notes, *queued.reach)
    return replace(plan, memory=memory, warnings=(*plan.warnings, *warnings), notes=notes), outputs


def _output_lines(job: Job, outputs: Sequence[Output]) -> Iterator[Text]:
    """Yield a line on the outputs and, where the job changes settings of the engine, one on these."""

    def settings(output: Output) -> str:
        if output.options is None:
            return output.name
        options = output.options
        crf = "" if options.crf is None else f"crf {options.crf:g}"
        details = ", ".join(part for part in (options.codec, crf, options.preset, options.pix_fmt) if part)
        return f"{output.name} ({details})"

    sound = "" if job.audio == "none" else f", sound from {'the input' if job.audio == 'input' else job.audio.name}"
    yield Text(f"output: {', '.join(map(settings, outputs))}{sound}", style="dim")
    names = ("vae_type", "vae_dtype", "quantization", "speed", "noise_device")
    chosen = [
        f"{name} {getattr(job, name)}" for name in names if getattr(job, name) != type(job).model_fields[name].default
    ]
    if chosen:
        yield Text(f"engine: {', '.join(chosen)}", style="dim")
