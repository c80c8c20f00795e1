"""Renders a job: plans it, generates its chunks in a session, writes the frames to sinks and reports events."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack, closing

from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Plan
from scope_batch.events import Finished, Report, Warned
from scope_batch.job import Job
from scope_batch.render.chunk_stream import Stop, as_stop
from scope_batch.render.engine_pool import Engines, load_processors, request_of, unused_options
from scope_batch.render.film_watch import FilmWatch
from scope_batch.render.fingerprint import environment_of, model_files_digests
from scope_batch.render.options import DEFAULT_OPTIONS, RenderOptions
from scope_batch.render.output_settings import (
    check_outputs_and_inputs,
    chunks_path,
    sink_settings,
    with_environment,
    with_metadata,
)
from scope_batch.render.prepare import outputs_of, prepare_job, unused_by_outputs, unused_by_resume
from scope_batch.render.resume import open_resume
from scope_batch.render.run import Run
from scope_batch.render.stored_outputs import StoredOutputs
from scope_batch.sinks.metadata import MODELS_ENTRY
from scope_batch.sinks.output import Output
from scope_batch.sinks.output_set import (
    SinkSettings,
    any_output_exists,
    claim_outputs,
    complete_earlier_render,
    foreign_pictures,
    remove_stored_chunks,
)
from scope_batch.sinks.uptodate import reasons_to_render

MAX_WARNINGS = 50
"""Most warnings that a render reports."""


def render_job(
    job: Job,
    job_stem: str = "job",
    options: RenderOptions = DEFAULT_OPTIONS,
    report: Report = lambda _: None,
    stop: Stop | threading.Event | None = None,
    engines: Engines | None = None,
) -> Finished:
    """Render one job; returns its last event, which is also reported. Raises the errors of `scope_batch.errors`.

    job_stem  names the output when neither job nor options do: `./<job_stem>.mp4`.
    stop      an event of the caller's, or anything whose `check` raises when the render should end.
    """
    started_s = time.monotonic()
    plan = prepare_job(job, report)
    outputs = tuple(
        output.made_in(options.work_dir) for output in outputs_of(job, options.outputs, options.output_format, job_stem)
    )
    with StoredOutputs(outputs, report, overwrite=options.overwrite) as stored:
        run = Run(report, FilmWatch(job.stop_if), stored, started_s)
        return _render(run, job, job_stem, plan, outputs, options, as_stop(stop), engines or Engines())


def _render(
    run: Run,
    job: Job,
    job_stem: str,
    plan: Plan,
    outputs: tuple[Output, ...],
    options: RenderOptions,
    stop: Stop,
    engines: Engines,
) -> Finished:
    report, stored = run.report, run.stored
    warnings = (
        *plan.warnings,
        *unused_by_outputs(job, outputs, options.outputs),
        *unused_options(plan, options),
        *unused_by_resume(job, outputs, options),
    )
    for warning in warnings[:MAX_WARNINGS]:
        report(Warned(warning))
    if len(warnings) > MAX_WARNINGS:
        report(Warned(f"and {len(warnings) - MAX_WARNINGS} more warnings; scope-batch plan --json lists them all"))
    request = request_of(job, plan, options)
    chunks = chunks_path(job, plan, request, outputs, options, job_stem)
    settings = sink_settings(job, plan, request, options, chunks)
    is_first = not options.overwrite and not stored.exist and not any_output_exists(outputs, settings)
    if is_first:  # before the model files are read for their checksums
        check_outputs_and_inputs(job, plan, outputs, settings, options)
    settings = with_metadata(settings, job, plan, model_files_digests(request, plan, report), store=options.metadata)
    if not is_first:
        completed = complete_earlier_render(outputs, settings)
        anew = options.overwrite and not options.skip_existing and not stored.wait
        reasons = [] if completed or anew else reasons_to_render(outputs, plan, settings, stored.documents)
        if not anew and not reasons:
            remove_stored_chunks(outputs, settings)
            stored.upload(settings.metadata)
            return run.finish("skipped", plan, (), up_to_date(request, settings))
        stored.refuse(reasons)
        check_outputs_and_inputs(job, plan, outputs, settings, options, reasons)
    for warning in foreign_pictures(outputs, plan.delivery.frames):
        report(Warned(warning))
    with claim_outputs(outputs, settings) as publication, ExitStack() as stack:
        resume = None
        if settings.chunks is not None:
            folder = publication.work(settings.chunks).path
            resume = stack.enter_context(
                closing(open_resume(folder, job, plan, request, options, report, latents=options.latents is not None))
            )
        processors = load_processors(plan, request)  # before the engine, which takes longer to load
        engine = None
        if resume is None or not resume.complete:
            engine = engines.get(request, report)
        environment = environment_of(engine) if engine is not None else resume.environment if resume else {}
        settings = with_environment(settings, environment)
        return run.render(plan, request, processors, engine, resume, outputs, settings, publication, stop)


def up_to_date(request: EngineRequest, settings: SinkSettings) -> str:
    """Return the message of a render that has nothing to do."""
    message = "every output exists and was made from this job"
    unknown = request.spec.needs_models and settings.metadata and not json.loads(settings.metadata).get(MODELS_ENTRY)
    return f"{message} (its model files are not here, so they were not compared)" if unknown else message
