"""Writes frames to standard output: NPY as raw bytes, video through an encoder that inherits the descriptor."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from scope_batch.errors import ClosedPipeError, OutputError, ScopeBatchError, UsageError
from scope_batch.media.patience import CheckStop, Patience, never_stop
from scope_batch.sinks.command import VideoFormat
from scope_batch.sinks.encode import EncoderProcess
from scope_batch.sinks.npy import bytes_of, npy_header, write_all
from scope_batch.sinks.sink import Block, stops_now

STDOUT_FD = 1
POLL_MS = 200
_NAME = "standard output"


def refuse_terminal(fd: int = STDOUT_FD) -> None:
    """Raises UsageError if `fd` is a terminal, OutputError if it is closed."""
    try:
        os.fstat(fd)
    except OSError as error:
        raise OutputError(f"{_NAME}: {error.strerror}") from error
    if os.isatty(fd):
        raise UsageError(f"{_NAME} is a terminal: redirect it to a file or a program")


class NpyStdout:
    """Writes uint8 [T, H, W, 3]. The header goes first: after a stop it states more frames than follow."""

    result: Path | None = None

    def __init__(
        self, frames: int, height: int, width: int, *, fd: int = STDOUT_FD, check_stop: CheckStop = never_stop
    ) -> None:
        self._header = npy_header(frames, height, width)
        self._expected = frames
        self._written = 0
        self._fd = fd
        self._aborted = False
        self._patience = Patience(f"{_NAME}: the reader", check_stop)

    def __enter__(self) -> Self:
        with _pipe_errors():
            self._send(memoryview(self._header))
        return self

    def write(self, block: Block) -> None:
        """Raises ClosedPipeError if the reader has closed the pipe, OutputError for any other fault."""
        with _pipe_errors():
            self._send(bytes_of(block))
        self._written += len(block)

    def abort(self) -> None:
        self._aborted = True

    def _send(self, view: memoryview) -> None:
        """Write all of `view`, polling so that a reader that does not read cannot block a stop."""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            write_all(self._fd, view)
            return
        ready = select.poll()
        ready.register(self._fd, select.POLLOUT)
        self._patience.moved()
        while view:
            if ready.poll(POLL_MS):
                view = view[
                    os.write(self._fd, view[: select.PIPE_BUF]) :
                ]  # a ready pipe accepts this many bytes without blocking
                self._patience.moved()
            else:
                self._patience.check()
            if self._aborted:
                raise OutputError(f"{_NAME}: stopped")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._written != self._expected:
            raise OutputError(f"{_NAME}: {self._written} of {self._expected} frames were written")


class VideoStdout:
    """Writes NUT, or a container that needs no seeking. The stream is completed unless the render stops at once."""

    result: Path | None = None

    def __init__(
        self,
        video: VideoFormat,
        *,
        metadata: str | None = None,
        fd: int = STDOUT_FD,
        check_stop: CheckStop = never_stop,
    ) -> None:
        self._check_stop = check_stop
        self._video = video
        self._metadata = metadata
        self._fd = fd
        self._encoder: EncoderProcess | None = None
        self._failed = False

    def __enter__(self) -> Self:
        self._encoder = EncoderProcess(
            self._video,
            None,
            name=_NAME,
            metadata=self._metadata,
            output_fd=self._fd,
            check_stop=self._check_stop,
        )
        return self

    def write(self, block: Block) -> None:
        assert self._encoder is not None
        self._failed = True
        self._encoder.write(block)
        self._failed = False

    def abort(self) -> None:
        if self._encoder is not None:
            self._encoder.kill()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._encoder is not None
        try:
            if error is None:
                self._encoder.finish()
            elif not (self._failed or stops_now(error)):
                self._complete_early(error)
        finally:
            self._encoder.close()

    def _complete_early(self, error: BaseException) -> None:
        assert self._encoder is not None
        try:
            self._encoder.finish()
        except ScopeBatchError as second:
            if stops_now(second):
                raise
            error.add_note(f"{_NAME} was not completed: {second}")


@contextmanager
def _pipe_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ClosedPipeError(f"{_NAME} was closed by its reader") from error
    except OSError as error:
        raise OutputError(f"{_NAME}: {error.strerror}") from error
