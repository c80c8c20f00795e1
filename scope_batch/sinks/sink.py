"""The contract of everything that takes frames, and the life of an output that is one file."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from numpy.typing import NDArray

from scope_batch.errors import Interrupted, OutputError, ScopeBatchError
from scope_batch.sinks.output import output_errors, sidecar_path
from scope_batch.sinks.publish import Publication

Block = NDArray[Any]
"""Frames uint8 [T, H, W, 3], or latents float32 [F, 16, H/8, W/8]; axis 0 is what is counted."""


class Sink(Protocol):
    """Takes blocks of frames in order. Leaving the context ends the output with exactly one outcome."""

    @property
    def result(self) -> Path | None:
        """What was left, under its own name or as a partial, once it is published; None if there is nothing."""
        ...

    def __enter__(self) -> Self: ...

    def write(self, block: Block) -> None: ...

    def abort(self) -> None:
        """Let go of whatever a writing thread may be blocked on; called from another thread, before the exit."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileSink(ABC):
    """A sink that ends as one file, which its `Publication` gives a name.

    No exception: finish, verify, sync. An exception that this sink is not to blame for: the same with what has been
    written, if anything. Its own fault, or a signal to stop at once: nothing.
    """

    def __init__(self, path: Path, expected: int, publication: Publication, *, sidecar: str | None = None) -> None:
        """`expected`: how many items (axis 0) make it whole.

        `sidecar`: the JSON object that NAME.EXT.json is to hold, besides size and hash; None or "" = no such file.
        """
        self.path = path
        self.written = 0
        self._expected = expected
        self._publication = publication
        self._work = publication.work(path)
        self._sidecar = sidecar
        self._failed = False
        self._fd = -1

    @property
    def result(self) -> Path | None:
        return self._work.result

    @abstractmethod
    def _open(self, fd: int, file: Path) -> None:
        """Begin. `fd` is open on the empty `file` and is closed by the base class."""

    @abstractmethod
    def _write(self, block: Block) -> None: ...

    @abstractmethod
    def _finish(self) -> None:
        """End the file so that it is valid and holds `written` items."""

    @abstractmethod
    def _verify(self, file: Path) -> None:
        """Raises OutputError unless `file`, read anew, holds `written` items of the right size."""

    def _close(self) -> None:  # noqa: B027  most formats hold nothing but the descriptor
        """Free what `_open` took; after `_finish`, and after any failure."""

    def abort(self) -> None:  # noqa: B027  only encoders have something to stop
        """Nothing here ever blocks for long."""

    def __enter__(self) -> Self:
        try:
            with output_errors(self.path):
                self._fd = self._work.create(self.path.name)
            self._open(self._fd, self._file)
        except BaseException:
            self._end()
            raise
        return self

    def write(self, block: Block) -> None:
        """Raises OutputError, or what else the format can meet."""
        try:
            with output_errors(self.path):
                self._write(block)
        except BaseException:
            self._failed = True
            raise
        self.written += len(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._succeed()
            elif self.written and not self._failed and not stops_now(error):
                self._salvage(error)
        finally:
            self._end()

    @property
    def _file(self) -> Path:
        return self._work.path / self.path.name

    def _succeed(self) -> None:
        if self.written != self._expected:
            raise OutputError(f"{self.path}: {self.written} of {self._expected} were written")
        self._make_whole()

    def _salvage(self, error: BaseException) -> None:
        """Keep a partial. What ended the render stays the error; that nothing could be kept is a note on it."""
        try:
            self._make_whole()
        except ScopeBatchError as second:
            if stops_now(second):
                raise
            error.add_note(f"no partial kept: {reason_of(second)}")

    def _make_whole(self) -> None:
        with output_errors(self.path):
            self._finish()
            self._work.refuse_other_file(self.path.name, self._fd)
            self._verify(self._file)
            os.fsync(self._fd)
            if self._sidecar:
                text = json.dumps(json.loads(self._sidecar) | bytes_and_hash(self._file))
                self._work.write(sidecar_path(self.path).name, text.encode())
        self._publication.add_whole(self._work)

    def _end(self) -> None:
        self._close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def bytes_and_hash(file: Path) -> dict[str, object]:
    """The size and sha256 of a file, which its sidecar holds to bind the two. Raises OSError."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return {"bytes": opened.tell(), "sha256": digest}


def reason_of(failure: BaseException) -> str:
    """The text for a note on another error about `failure`: its own notes if it has any, else its message."""
    return "; ".join(getattr(failure, "__notes__", ())) or str(failure)


def stops_now(error: BaseException) -> bool:
    """A signal that asks not to wait for anything, or a bare Ctrl-C."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, Interrupted) and error.now)
