"""Writes chunks in a background thread, which copies each chunk off the device and passes it to every sink."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.engine import Generated
from scope_batch.core.failpoint import failpoint
from scope_batch.core.frames import Frames
from scope_batch.errors import Interrupted, JobError
from scope_batch.events import OutputFile
from scope_batch.sinks.output import files_of
from scope_batch.sinks.sink import Sink, reason_of, stops_now

QUEUE_DEPTH = 2
"""Most chunks that wait to be written. Together with the one being written they bound the memory."""


class Post(Protocol):
    """The post-processors, applied to all frames in order."""

    def process(self, frames: Frames) -> Frames: ...

    def flush(self) -> Frames: ...


Commit = Callable[[int, Frames, "NDArray[np.float32] | None"], None]
"""Stores a chunk: its index, the frames that are delivered of it, and its latents if they are saved."""


Look = Callable[[Frames], None]
"""Takes the frames that a chunk delivers, after all sinks; an error that it raises ends the render."""


class BackgroundWriter:
    """Writes queued chunks to all sinks in one thread.

    Leaving the context waits until the queue is written, also after an error, unless that demands an immediate stop.
    The caller enters and leaves the sinks, around this context.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        latents: Sink | None = None,
        post: Post | None = None,
        commit: Commit | None = None,
        look: Look | None = None,
    ) -> None:
        """`latents` takes the latents of each chunk; `post` processes the frames before `sinks` take them.

        commit  stores each new chunk before any sink takes it, so that a sink that fails costs no chunk.
        look    takes the frames of each chunk, new or stored, after they are written.
        """
        self._commit = commit
        self._look = look
        self._sinks = sinks
        self._post = post
        self._latents = latents
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._queue: deque[Future[None]] = deque()
        self._failed = False
        self.frames_written = 0
        """Number of frames that all sinks have written."""

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

    def submit(self, generated: Generated, keep: int, commit_as: int | None = None) -> None:
        """Queue the first `keep` frames of a chunk; waits while the queue is full.

        commit_as  index of a chunk that is stored first; None: it is not, or it is stored already.

        Raises the error that a sink, or reading an earlier chunk, has raised since the last call.
        """
        self._wait(QUEUE_DEPTH)
        self._queue.append(self._pool.submit(self._write, generated, keep, commit_as))

    def abort(self) -> None:
        """Stop at once: drop the queue, kill encoders, and wait for the thread to end."""
        self._failed = True
        for sink in self._all_sinks():
            sink.abort()
        self._pool.shutdown(cancel_futures=True)

    def results(self) -> tuple[OutputFile, ...]:
        """Return the published files with their sizes, after the sinks were left. A PNG sequence counts as one file."""
        published = [sink.result for sink in self._all_sinks() if sink.result is not None]
        return tuple(OutputFile(str(path), _bytes_of(path)) for path in published)

    def _all_sinks(self) -> list[Sink]:
        return [*self._sinks, *([] if self._latents is None else [self._latents])]

    def _end(self, error: BaseException | None) -> None:
        """Let the thread finish. Raises its error, unless another error has already ended the render."""
        self._queue.append(self._pool.submit(self._flush))
        try:
            self._wait(0)
        except BaseException as failure:
            self._pool.shutdown()  # after an error the thread only empties the queue
            if error is None or stops_now(failure) or (failure is not error and isinstance(error, Interrupted)):
                raise
            if failure is not error:
                error.add_note(reason_of(failure))
        self._pool.shutdown()

    def _wait(self, depth: int) -> None:
        """Wait until at most `depth` chunks are unwritten, and raise the error of a finished one."""
        while self._queue and (self._queue[0].done() or len(self._queue) > depth):
            self._queue[0].result()
            self._queue.popleft()

    def _write(self, generated: Generated, keep: int, commit_as: int | None) -> None:
        if self._failed:
            return
        try:
            self._write_chunk(generated, keep, commit_as)
        except BaseException:
            self._failed = True  # writing the rest of the queue would leave a gap
            raise

    def _write_chunk(self, generated: Generated, keep: int, commit_as: int | None) -> None:
        frames = generated.frames()[:keep]
        latents = None if self._latents is None else generated.latents()
        if self._latents is not None and latents is None:
            raise JobError("--latents: this pipeline has no latents")
        if self._commit is not None and commit_as is not None:
            self._commit(commit_as, frames, latents)
        failpoint("chunk-written")
        delivered = frames if self._post is None else self._post.process(frames)
        self._write_frames(delivered)
        if self._latents is not None and latents is not None:
            self._latents.write(latents)
        if self._look is not None:
            self._look(delivered)

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
