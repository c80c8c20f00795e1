"""Renders a job: plans it, generates its chunks in a session, writes the frames to sinks and reports events."""

from __future__ import annotations

import json
import re
import resource
import sys
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scope_batch.core.engine import Engine, EngineRequest, Session
from scope_batch.core.failpoint import failpoint
from scope_batch.core.plan import Chunk, Plan
from scope_batch.errors import DegradedError, Interrupted, TimeLimitError
from scope_batch.events import ChunkDone, Finished, OutputFile, Report, Started, Warned
from scope_batch.job import Job
from scope_batch.media.chunk_inputs import Inputs, open_inputs
from scope_batch.plan.view import text
from scope_batch.plan.view.text import Shares
from scope_batch.processors.chain import Chain
from scope_batch.render.chunk_stream import Stop, as_stop, generate_chunks
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
from scope_batch.render.plugin_guard import guarded_peak_bytes, guarded_session
from scope_batch.render.prepare import (
    outputs_of,
    prepare_job,
    unused_by_outputs,
    unused_by_resume,
)
from scope_batch.render.resume import Resume, open_resume
from scope_batch.render.speed_history import remember_speed
from scope_batch.render.stored_outputs import StoredOutputs
from scope_batch.sinks.metadata import MODELS_ENTRY
from scope_batch.sinks.output import Output
from scope_batch.sinks.output_set import (
    SinkSettings,
    any_output_exists,
    claim_outputs,
    complete_earlier_render,
    foreign_pictures,
    open_sinks,
    remove_stored_chunks,
)
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.uptodate import reasons_to_render, remember_outputs
from scope_batch.sinks.writer import BackgroundWriter

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
        run = _Run(report, FilmWatch(job.stop_if), stored, started_s)
        return _render(run, job, job_stem, plan, outputs, options, as_stop(stop), engines or Engines())


def _render(
    run: _Run,
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


@dataclass(slots=True)
class _Run:
    """The state of one render from its start to its last event; times are seconds of the monotonic clock."""

    report: Report
    watch: FilmWatch
    stored: StoredOutputs
    started_s: float
    loaded_s: float | None = None
    generating_s: float = 0.0
    """When the first chunk began that is generated now."""
    frames_made: int = 0
    """Frames of the pipeline that are generated now."""
    stored_frames: int = 0
    """Delivered frames that come from stored chunks."""
    writer: BackgroundWriter | None = None
    engine: Engine | None = None

    def render(
        self,
        plan: Plan,
        request: EngineRequest,
        processors: tuple[Chain, Chain],
        engine: Engine | None,
        resume: Resume | None,
        outputs: tuple[Output, ...],
        settings: SinkSettings,
        publication: Publication,
        stop: Stop,
    ) -> Finished:
        self.engine = engine
        pre, post = processors
        try:
            with ExitStack() as stack:
                session = None if engine is None else stack.enter_context(guarded_session(engine, plan, self.report))
                start = self._first_chunk(plan, engine, session, resume)
                inputs = stack.enter_context(open_inputs(plan, start, pre))
                commit = None if resume is None else resume.commit
                sinks = open_sinks(outputs, plan, settings, publication, stop.check, commit, self.watch, post)
                self.writer = stack.enter_context(sinks)
                self._start(plan, outputs)
                if resume is not None:
                    self._stored_chunks(plan, resume, start, stop)
                if session is not None:
                    self._chunks(plan, session, resume, start, inputs, stop)
                    remember_speed(plan, request, self.frames_made, time.monotonic() - self.generating_s)
                failpoint("all-generated")
            remember_outputs(outputs, plan, settings)
            files = self._published()
            self.stored.upload(settings.metadata)
        except BaseException as error:
            self._report_figures()
            stopped = isinstance(error, Interrupted | TimeLimitError | DegradedError | KeyboardInterrupt)
            self.finish("interrupted" if stopped else "failed", plan, self._published(), str(error))
            raise
        self._report_figures()
        return self.finish("done", plan, self.stored.named(files))

    def _start(self, plan: Plan, outputs: tuple[Output, ...]) -> None:
        self.loaded_s = time.monotonic()
        names = tuple(output.name for output in outputs)
        load_s = self.loaded_s - self.started_s
        delivery = plan.delivery
        size = (delivery.height, delivery.width)
        self.report(
            Started(plan.pipeline_id, len(plan.chunks), delivery.frames, float(delivery.fps), *size, names, load_s)
        )

    def _first_chunk(self, plan: Plan, engine: Engine | None, session: Session | None, resume: Resume | None) -> int:
        if engine is None or session is None:
            return len(plan.chunks)
        return 0 if resume is None else resume.start(engine, session)

    def _stored_chunks(self, plan: Plan, resume: Resume, start: int, stop: Stop) -> None:
        """Hand on the chunks before `start`, which are not generated now."""
        assert self.writer is not None
        for chunk in plan.chunks[:start]:
            stop.check()
            self.writer.submit(resume.stored(chunk.index), chunk.keep)
            self.stored_frames = plan.delivered(chunk).stop

    def _chunks(
        self, plan: Plan, session: Session, resume: Resume | None, start: int, inputs: Inputs, stop: Stop
    ) -> None:
        assert self.writer is not None
        self.generating_s = chunk_started_s = time.monotonic()
        shares = Shares(plan.chunks)
        for chunk, generated in generate_chunks(plan, session, inputs, stop, self.report, start, resume):
            self.writer.submit(generated, chunk.keep, commit_as=chunk.index)
            self.frames_made += chunk.keep
            self.report(self._chunk_done(plan, chunk, chunk_started_s, text.prompt(shares(chunk))))
            self._report_figures()
            chunk_started_s = time.monotonic()
        if resume is not None:
            resume.finish()

    def _report_figures(self) -> None:
        for event in self.watch.events():
            self.report(event)

    def _chunk_done(self, plan: Plan, chunk: Chunk, chunk_started_s: float, prompt: str) -> ChunkDone:
        now_s = time.monotonic()
        elapsed_s = now_s - self.generating_s
        delivered = plan.delivered(chunk)
        done = chunk.first_frame + chunk.keep  # frames of the pipeline, which takes nearly all the time
        return ChunkDone(
            chunk=chunk.index,
            chunks=len(plan.chunks),
            frames=len(delivered),
            frames_done=delivered.stop,
            num_frames=plan.delivery.frames,
            seconds=now_s - chunk_started_s,
            elapsed_s=elapsed_s,
            fps=(delivered.stop - self.stored_frames) / elapsed_s if elapsed_s else 0.0,
            eta_s=elapsed_s / self.frames_made * (plan.num_frames - done),
            prompt=prompt,
        )

    def _published(self) -> tuple[OutputFile, ...]:
        return self.writer.results() if self.writer is not None else ()

    def finish(
        self,
        outcome: Literal["done", "skipped", "interrupted", "failed"],
        plan: Plan,
        files: tuple[OutputFile, ...],
        message: str = "",
    ) -> Finished:
        now_s = time.monotonic()
        loaded_s = now_s if self.loaded_s is None else self.loaded_s
        frames = self.writer.frames_written if self.writer is not None else 0
        render_s = now_s - loaded_s
        event = Finished(
            outcome=outcome,
            frames=frames,
            num_frames=plan.delivery.frames,
            load_s=loaded_s - self.started_s,
            render_s=render_s,
            fps=max(frames - self.stored_frames, 0) / render_s if render_s else 0.0,
            peak_host_bytes=peak_host_bytes(),
            peak_device_bytes=guarded_peak_bytes(self.engine, plan) if self.engine is not None else 0,
            outputs=files,
            message=message,
        )
        self.report(event)
        return event


def peak_host_bytes() -> int:
    """Return the peak resident memory of this process in bytes."""
    try:
        # Not `ru_maxrss`, which a process inherits from its parent.
        peak_kb = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        peak_kb = None
    if peak_kb:
        return int(peak_kb[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
