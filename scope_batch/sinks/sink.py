"""Defines the interface of all sinks, and the base class of sinks that write one file."""

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
"""Frames uint8 [T, H, W, 3], or latents float32 [F, 16, H/8, W/8]; items are counted along axis 0."""


class Sink(Protocol):
    """Writes blocks of frames in order. Leaving the context ends the output with exactly one outcome."""

    @property
    def result(self) -> Path | None:
        """The published file or its partial; None before publishing, or if nothing was kept."""
        ...

    def __enter__(self) -> Self: ...

    def write(self, block: Block) -> None: ...

    def abort(self) -> None:
        """Unblock a thread that is blocked in `write`; called from another thread, before `__exit__`."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileSink(ABC):
    """A sink that writes one file, which its `Publication` publishes.

    Leaving the context without an exception finishes, verifies and syncs the file. After an exception that this sink
    did not raise, it does the same for the frames written so far. After its own exception, or a signal to stop at once,
    no file is kept.
    """

    def __init__(self, path: Path, expected: int, publication: Publication, *, sidecar: str | None = None) -> None:
        """`expected`: number of items (axis 0) of the complete file.

        `sidecar`: JSON object for NAME.EXT.json, to which size and hash are added; None or "" = no such file.
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
        """Start writing to the empty `file`, which is open as `fd`; the base class closes `fd`."""

    @abstractmethod
    def _write(self, block: Block) -> None: ...

    @abstractmethod
    def _finish(self) -> None:
        """Complete the file so that it is valid and holds `written` items."""

    @abstractmethod
    def _verify(self, file: Path) -> None:
        """Read `file` back. Raises OutputError unless it holds `written` items of the right size."""

    def _close(self) -> None:  # noqa: B027  most formats hold nothing but the descriptor
        """Free the resources of `_open`; called after `_finish` and after any failure."""

    def abort(self) -> None:  # noqa: B027  only encoders have something to stop
        """Do nothing: writing to a file does not block for long."""

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
        """Raises OutputError, or another error of the format."""
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
                self._keep_partial(error)
        finally:
            self._end()

    @property
    def _file(self) -> Path:
        return self._work.path / self.path.name

    def _succeed(self) -> None:
        if self.written != self._expected:
            raise OutputError(f"{self.path}: {self.written} of {self._expected} were written")
        self._complete_file()

    def _keep_partial(self, error: BaseException) -> None:
        """Keep a partial file. A failure to do so is added as a note to `error`, which ended the render."""
        try:
            self._complete_file()
        except ScopeBatchError as second:
            if stops_now(second):
                raise
            error.add_note(f"no partial kept: {reason_of(second)}")

    def _complete_file(self) -> None:
        with output_errors(self.path):
            self._finish()
            self._work.refuse_other_file(self.path.name, self._fd)
            self._verify(self._file)
            os.fsync(self._fd)
            if self._sidecar:
                text = json.dumps(json.loads(self._sidecar) | bytes_and_hash(self._file))
                self._work.write(sidecar_path(self.path).name, text.encode())
        self._publication.add_complete(self._work)

    def _end(self) -> None:
        self._close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def bytes_and_hash(file: Path) -> dict[str, object]:
    """Return the size and sha256 of a file, with which its sidecar identifies it. Raises OSError."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return {"bytes": opened.tell(), "sha256": digest}


def reason_of(failure: BaseException) -> str:
    """Return the text that describes `failure` in a note on another error: its notes, else its message."""
    return "; ".join(getattr(failure, "__notes__", ())) or str(failure)


def stops_now(error: BaseException) -> bool:
    """Return whether the error demands an immediate stop: a second signal, or KeyboardInterrupt."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, Interrupted) and error.now)
