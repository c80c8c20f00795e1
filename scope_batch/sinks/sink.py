"""What takes frames, and the one way in which everything that ends as a file begins and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from numpy.typing import NDArray

from scope_batch.errors import Interrupted, OutputError, OutputExistsError, ScopeBatchError
from scope_batch.sinks.atomic import PartFile, output_errors, partial_path, sidecar_path, write_atomically

Block = NDArray[Any]
"""Frames uint8 [T, H, W, 3], or latents float32 [F, 16, H/8, W/8]; axis 0 is what is counted."""


class Sink(Protocol):
    """Takes blocks in order. Leaving it says how the render ended, and there is exactly one outcome."""

    result: Path | None
    """The file that was left, after the exit: under its own name or as a partial; None if there is none."""

    def __enter__(self) -> Self: ...

    def write(self, block: Block) -> None: ...

    def abort(self) -> None:
        """Let go of whatever a writing thread may be blocked on; called from another thread, before the exit."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileSink(ABC):
    """A sink that ends as one file.

    No exception: finish, verify, sync, rename. An exception that this sink is not to blame for: the same under
    NAME.partial.EXT with what has been written, if anything. Its own fault, or a signal to stop at once: nothing.
    """

    def __init__(self, path: Path, expected: int, *, overwrite: bool, sidecar: str | None = None) -> None:
        """`expected`: how many items (axis 0) make it whole.

        `sidecar`: what NAME.EXT.json is to hold; "" = an old one goes away; None = the format has no such file.
        """
        self.path = path
        self.result: Path | None = None
        self.written = 0
        self._expected = expected
        self._sidecar = sidecar
        self._failed = False
        self._part = PartFile(path, overwrite=overwrite)

    @abstractmethod
    def _open(self, fd: int, part: Path) -> None:
        """Begin. `fd` is open on the empty `part` and is closed by the base class."""

    @abstractmethod
    def _write(self, block: Block) -> None: ...

    @abstractmethod
    def _finish(self) -> None:
        """End the file so that it is valid and holds `written` items."""

    @abstractmethod
    def _verify(self, part: Path) -> None:
        """Raises OutputError unless `part`, read anew, holds `written` items of the right size."""

    def _close(self) -> None:  # noqa: B027  most formats hold nothing but the descriptor
        """Free what `_open` took; after `_finish`, and after any failure."""

    def abort(self) -> None:  # noqa: B027  only encoders have something to stop
        """Nothing here ever blocks for long."""

    def __enter__(self) -> Self:
        fd = self._part.open()
        try:
            self._open(fd, self._part.part)
        except BaseException:
            self._close()
            self._part.discard()
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
            self._close()
            self._part.discard()

    def _succeed(self) -> None:
        if self.written != self._expected:
            raise OutputError(f"{self.path}: {self.written} of {self._expected} were written")
        try:
            self._publish(self.path)
        except OutputExistsError:
            self._publish(partial_path(self.path))  # somebody made it meanwhile; the render is not lost for that
            raise
        with output_errors(self.path):
            partial_path(self.path).unlink(missing_ok=True)
            sidecar_path(partial_path(self.path)).unlink(missing_ok=True)

    def _salvage(self, error: BaseException) -> None:
        """Keep a partial. What ended the render stays the error; that nothing could be kept is a note on it."""
        try:
            self._publish(partial_path(self.path))
        except ScopeBatchError as second:
            if stops_now(second):
                raise
            error.add_note(f"no partial kept: {second}")

    def _publish(self, target: Path) -> None:
        with output_errors(self.path):
            self._finish()
            self._verify(self._part.part)
            self._part.publish(target)
            self.result = target
            if self._sidecar == "":
                sidecar_path(target).unlink(missing_ok=True)
            elif self._sidecar is not None:
                write_atomically(sidecar_path(target), self._sidecar.encode())


def stops_now(error: BaseException) -> bool:
    """A signal that asks not to wait for anything, or a bare Ctrl-C."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, Interrupted) and error.now)
