"""Carries out one render that has been prepared: chunks to sinks, events, and the last event with its figures."""

from __future__ import annotations

import re
import resource
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scope_batch.core.engine import Engine, EngineRequest, Session
from scope_batch.core.failpoint import failpoint
from scope_batch.core.plan import Chunk, Plan
from scope_batch.errors import DegradedError, Interrupted, TimeLimitError
from scope_batch.events import ChunkDone, Finished, OutputFile, Report, Started
from scope_batch.media.chunk_inputs import Inputs, open_inputs
from scope_batch.plan.view import text
from scope_batch.plan.view.text import Shares
from scope_batch.processors.chain import Chain
from scope_batch.render.chunk_stream import Stop, generate_chunks
from scope_batch.render.film_watch import FilmWatch
from scope_batch.render.plugin_guard import guarded_peak_bytes, guarded_session
from scope_batch.render.resume import Resume
from scope_batch.render.speed_history import remember_speed
from scope_batch.render.stored_outputs import StoredOutputs
from scope_batch.sinks.output import Output
from scope_batch.sinks.output_set import SinkSettings, open_sinks
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.uptodate import remember_outputs
from scope_batch.sinks.writer import BackgroundWriter


@dataclass(slots=True)
class Run:
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
    stores_chunks: bool = False
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
        self.engine, self.stores_chunks = engine, resume is not None
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
            stored=self.stores_chunks if outcome in ("interrupted", "failed") else None,
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
