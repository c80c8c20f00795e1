"""Writing beside rendering: one thread takes each chunk off the device and hands it to every sink."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np

from scope_batch.core.engine import Generated
from scope_batch.core.frames import Frames
from scope_batch.errors import Interrupted, JobError
from scope_batch.events import OutputFile
from scope_batch.sinks.output import files_of
from scope_batch.sinks.sink import Sink, reason_of, stops_now

QUEUE_DEPTH = 2
"""Chunks that may wait to be written; with one more in hand, this bounds the memory."""


class Post(Protocol):
    """The stream of the post-processors."""

    def process(self, frames: Frames) -> Frames: ...

    def flush(self) -> Frames: ...


class BackgroundWriter:
    """Leaving it without an exception waits until all is written; after a signal or a fault what is queued is written
    too, since it has been rendered, unless the signal says to stop at once. The sinks are entered and left by the
    caller, around this.
    """

    def __init__(self, sinks: Sequence[Sink], latents: Sink | None = None, post: Post | None = None) -> None:
        """`latents` takes the latents of each chunk; `post`: what the frames pass on their way to `sinks`."""
        self._sinks = sinks
        self._post = post
        self._latents = latents
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._queue: deque[Future[None]] = deque()
        self._failed = False
        self.frames_written = 0
        """Frames that every sink has taken."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is not None and stops_now(error):
            self.abort()
            return False
        try:
            self._end(error)
        except BaseException as failure:
            if stops_now(failure):
                self.abort()
            raise
        return False

    def submit(self, generated: Generated, keep: int) -> None:
        """Queue the first `keep` frames of a chunk; waits while the queue is full.

        Raises what a sink, or reading an earlier chunk, has raised since the last call.
        """
        self._wait(QUEUE_DEPTH)
        self._queue.append(self._pool.submit(self._write, generated, keep))

    def abort(self) -> None:
        """Stop at once: what is queued is dropped, encoders are killed, the thread has ended on return."""
        self._failed = True
        for sink in self._all_sinks():
            sink.abort()
        self._pool.shutdown(cancel_futures=True)

    def results(self) -> tuple[OutputFile, ...]:
        """The files left and their bytes, known once the sinks have been left. A PNG sequence counts as one."""
        left = [sink.result for sink in self._all_sinks() if sink.result is not None]
        return tuple(OutputFile(str(path), _bytes_of(path)) for path in left)

    def _all_sinks(self) -> list[Sink]:
        return [*self._sinks, *([] if self._latents is None else [self._latents])]

    def _end(self, error: BaseException | None) -> None:
        """Let the thread finish. Its fault is raised, unless the render has already ended by another."""
        self._queue.append(self._pool.submit(self._flush))
        try:
            self._wait(0)
        except BaseException as failure:
            self._pool.shutdown()  # after a fault it only empties the queue
            if error is None or stops_now(failure) or (failure is not error and isinstance(error, Interrupted)):
                raise
            if failure is not error:
                error.add_note(reason_of(failure))
        self._pool.shutdown()

    def _wait(self, depth: int) -> None:
        """Wait until at most `depth` chunks are unwritten, and raise what any finished one raised."""
        while self._queue and (self._queue[0].done() or len(self._queue) > depth):
            self._queue[0].result()
            self._queue.popleft()

    def _write(self, generated: Generated, keep: int) -> None:
        if self._failed:
            return
        try:
            self._write_chunk(generated, keep)
        except BaseException:
            self._failed = True  # what follows in the queue would leave a gap
            raise

    def _write_chunk(self, generated: Generated, keep: int) -> None:
        frames = generated.frames()[:keep]
        self._write_frames(frames if self._post is None else self._post.process(frames))
        if self._latents is not None:
            latents = generated.latents()
            if latents is None:
                raise JobError("--latents: this pipeline makes no latents")
            self._latents.write(latents)

    def _flush(self) -> None:
        if self._post is not None and not self._failed:
            self._write_frames(self._post.flush())

    def _write_frames(self, frames: Frames) -> None:
        if not len(frames):
            return  # a processor that looks ahead may hold a whole chunk back
        frames = np.ascontiguousarray(frames)
        for sink in self._sinks:
            sink.write(frames)
        self.frames_written += len(frames)


def _bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in files_of(path))
