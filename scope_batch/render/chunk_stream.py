"""Generates the chunks of a plan one after another, for a render to files and for callers in Python."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.engine import Generated, Session
from scope_batch.core.failpoint import failpoint
from scope_batch.core.frames import Frames
from scope_batch.core.plan import Chunk, Plan
from scope_batch.errors import Interrupted, TimeLimitError, UsageError
from scope_batch.events import ChunkStarted, Report, Warned
from scope_batch.job import Job
from scope_batch.media.chunk_inputs import Inputs, open_inputs
from scope_batch.media.validate import check_material
from scope_batch.plan.diagnostics import places_of_inputs
from scope_batch.plan.view import text
from scope_batch.plan.view.text import Shares
from scope_batch.processors.chain import Chain
from scope_batch.render.engine_pool import Engines, load_processors, request_of
from scope_batch.render.fingerprint import job_sha256
from scope_batch.render.options import DEFAULT_OPTIONS, RenderOptions
from scope_batch.render.plugin_guard import guarded_session
from scope_batch.render.prepare import prepare_job, unused_by_resume
from scope_batch.render.resume import Resume, open_resume
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import stops_now


class Stop(Protocol):
    def check(self) -> None:
        """Called between chunks; raises Interrupted or TimeLimitError if the render should stop."""
        ...


class NeverStop:
    """A `Stop` for callers without signals or time limit."""

    def check(self) -> None:
        return None


NEVER_STOP = NeverStop()


@dataclass(frozen=True, slots=True)
class EventStop:
    """A `Stop` that an event of the caller's asks for."""

    event: threading.Event

    def check(self) -> None:
        if self.event.is_set():
            raise Interrupted(signal.SIGINT, reason="stopped by the caller")


def as_stop(stop: Stop | threading.Event | None) -> Stop:
    if stop is None:
        return NEVER_STOP
    return EventStop(stop) if isinstance(stop, threading.Event) else stop


@dataclass(frozen=True, slots=True)
class RenderedChunk:
    """A chunk as `render_chunks` yields it.

    chunk    its row in the plan.
    frames   what is delivered once it is made, after the post-processors: uint8 [T, H, W, 3]. T may be 0 where one of
             them looks ahead; with the last chunk comes all that they still hold.
    latents  denoised latents float32 [F, 16, H/8, W/8]; None if the pipeline has none.
    stored   it was not generated now, but comes from the work folder.
    """

    chunk: Chunk
    frames: Frames
    latents: NDArray[np.float32] | None
    stored: bool = False


def generate_chunks(
    plan: Plan,
    session: Session,
    inputs: Inputs,
    stop: Stop,
    report: Report,
    start: int = 0,
    resume: Resume | None = None,
) -> Iterator[tuple[Chunk, Generated]]:
    """Generate the chunks from `start` on; `session` and `inputs` stand there already.

    Before it ends because `stop` asks for it, the streaming state is saved.
    """
    shares = Shares(plan.chunks)
    for chunk in plan.chunks[start:]:
        try:
            stop.check()
        except (Interrupted, TimeLimitError) as asked:
            if resume is not None and not stops_now(asked):
                resume.save_now(session, chunk.index)
            raise
        report(ChunkStarted(chunk.index, text.prompt(shares(chunk))))
        generated = session.generate(chunk, inputs.get(stop.check))
        failpoint("chunk-generated")
        if resume is not None:
            resume.after_chunk(session, chunk.index + 1)
        yield chunk, generated


def render_chunks(
    job: Job,
    options: RenderOptions = DEFAULT_OPTIONS,
    report: Report = lambda _: None,
    stop: Stop | threading.Event | None = None,
    engines: Engines | None = None,
) -> Generator[RenderedChunk, None, None]:
    """Render a job without outputs: yields every chunk as soon as it is generated.

    With `options.work_dir` the chunks are stored there too, and a later call with the same job yields what is stored
    and continues behind it; the folder is removed when the last chunk has been yielded, unless `options.keep_work`.
    The loop may be left at any time: everything is closed then, and what was yielded is stored.
    Raises the errors of `scope_batch.errors`.
    """
    stopper = as_stop(stop)
    if options.outputs or options.latents or options.preview:
        raise UsageError("render_chunks writes no files: outputs, latents and preview belong to render_job")
    plan = prepare_job(job, report)
    check_material(plan, places_of_inputs(job))
    for warning in (*plan.warnings, *unused_by_resume(job, (), options)):
        report(Warned(warning))
    request = request_of(job, plan, options)
    place = None
    if options.work_dir is not None and options.checkpoint_every != 0:
        # The folder may hold the chunks of several jobs: a file is told by its place, another job by its contents.
        name = os.path.realpath(job.source.name) if Path(job.source.name).is_file() else job_sha256(job)
        place = options.work_dir / f"{job.source.stem or 'job'}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    drop = options.resume is False and options.reuse is None
    with ExitStack() as stack:
        publication = stack.enter_context(
            Publication([], chunks=place, keep_chunks=options.keep_work or bool(job.keep_state), drop_chunks=drop)
        )
        resume = None
        if place is not None:
            folder = publication.work(place).path
            resume = stack.enter_context(
                closing(open_resume(folder, job, plan, request, options, report, latents=False))
            )
        pre, post_chain = load_processors(plan, request)
        post = _Post(plan, post_chain)
        start = 0
        session = None
        if resume is None or not resume.complete:
            engine = (engines or Engines()).get(request, report)
            session = stack.enter_context(guarded_session(engine, plan, report))
            start = 0 if resume is None else resume.start(engine, session)
        for chunk in plan.chunks[: len(plan.chunks) if session is None else start]:
            assert resume is not None
            stopper.check()
            stored = resume.stored(chunk.index)
            yield RenderedChunk(chunk, post.process(stored.frames(), chunk), stored.latents(), stored=True)
        if session is not None:
            inputs = stack.enter_context(open_inputs(plan, start, pre))
            for chunk, generated in generate_chunks(plan, session, inputs, stopper, report, start, resume):
                frames = generated.frames()[: chunk.keep]
                chunk_latents = generated.latents()
                if resume is not None:
                    resume.commit(chunk.index, frames, chunk_latents)
                try:
                    yield RenderedChunk(chunk, post.process(frames, chunk), chunk_latents)
                except GeneratorExit:
                    if resume is not None:
                        resume.save_now(session, chunk.index + 1)
                    raise
        if resume is not None:
            resume.finish()
            resume.close()
        publication.publish()


class _Post:
    """The post-processors of a plan as one stream."""

    def __init__(self, plan: Plan, chain: Chain) -> None:
        self._last = plan.chunks[-1].index
        self._stream = chain.open(plan.height, plan.width) if chain else None

    def process(self, frames: Frames, chunk: Chunk) -> Frames:
        if self._stream is None:
            return frames
        made = self._stream.process(frames)
        return np.concatenate([made, self._stream.flush()]) if chunk.index == self._last else made
