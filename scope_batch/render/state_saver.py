"""Saves the streaming state of a render between chunks, in the background."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from scope_batch.checkpoint.cadence import Cadence
from scope_batch.checkpoint.store import ChunkStore
from scope_batch.core.engine import ByteWriter, ResumableSession, Session
from scope_batch.events import Report, Warned
from scope_batch.sinks.output import output_errors


class StateSaver:
    """Copies the state between two chunks and writes it while the next chunks are generated.

    A state that cannot be saved is a warning: the chunks are stored all the same, and are generated again if need be.
    """

    def __init__(self, store: ChunkStore, chunks: int, cadence: Cadence, keep: Sequence[int], report: Report) -> None:
        """chunks: how many the render has. keep: chunks before which the state stays when later ones are saved."""
        self._store, self._chunks, self._cadence, self._keep, self._report = store, chunks, cadence, keep, report
        self._writing: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._unneeded = threading.Event()

    def after_chunk(self, session: Session, following: int) -> None:
        """Save the state before chunk `following` in the background, if it is time to."""
        self._settle(wait=False)
        if following == self._chunks or not self._cadence.is_due(following):
            return
        if following in self._keep:
            self._settle(wait=True)
        if self._writing is None and self._begin(session, following):
            self._cadence.saved(following)

    def save_now(self, session: Session, following: int) -> None:
        """Save the state before chunk `following` and wait for it: the render is about to be stopped."""
        self._settle(wait=True)
        if 0 < following < self._chunks:
            self._begin(session, following)
            self._settle(wait=True)

    def finish(self) -> None:
        """Every chunk is generated: a state that is still being written is of no use, unless it is to be kept."""
        if not self._keep:
            self._unneeded.set()
        self._settle(wait=True)

    def close(self) -> None:
        """Drop a state that is still being written. May be called again."""
        self._unneeded.set()
        try:
            self._settle(wait=True)
        finally:
            self._pool.shutdown()

    def _begin(self, session: Session, following: int) -> bool:
        """Take a snapshot and begin to write it. False if there is nothing to save, or the snapshot cannot be taken."""
        if not isinstance(session, ResumableSession) or self._store.has_state(following):
            return False
        try:
            snapshot = session.snapshot()
        except Exception as error:  # noqa: BLE001  the render needs no state; a faulty device shows in its next chunk
            self._warn(error)
            return False

        def write() -> None:
            began_s = time.monotonic()
            with output_errors(self._store.folder), contextlib.suppress(_UnneededError):
                self._store.put_state(
                    following, lambda file: snapshot.write(_Interruptible(file, self._unneeded)), self._keep
                )
                self._cadence.cost(snapshot.seconds, time.monotonic() - began_s)

        if not self._unneeded.is_set():
            self._writing = self._pool.submit(write)
        return True

    def _settle(self, *, wait: bool) -> None:
        """Take note of a state that has been written, and warn if it could not be."""
        if self._writing is None or not (wait or self._writing.done()):
            return
        try:
            self._writing.result()
        except Exception as error:  # noqa: BLE001  as above
            self._warn(error)
        finally:
            self._writing = None

    def _warn(self, error: Exception) -> None:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        self._report(Warned(f"the state could not be saved, the render goes on without: {reason}"))


class _UnneededError(Exception):
    """Nobody needs the rest of the file."""


@dataclass(frozen=True, slots=True)
class _Interruptible:
    """Passes bytes on until an event is set, and raises then."""

    file: ByteWriter
    event: threading.Event

    def write(self, data: memoryview | bytes, /) -> int:
        if self.event.is_set():
            raise _UnneededError
        return self.file.write(data)
