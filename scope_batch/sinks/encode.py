"""Runs ffmpeg as an encoder of raw frames, and turns its failures into errors that name the cause."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import tempfile
from pathlib import Path

import numpy as np

from scope_batch.errors import ClosedPipeError, JobError, OutputError, ScopeBatchError, TemporaryError
from scope_batch.media.ffmpeg import Child, refuse_little_memory
from scope_batch.media.patience import POLL_S, CheckStop, Patience, never_stop
from scope_batch.sinks.command import VideoFormat, encode_args
from scope_batch.sinks.metadata import ffmetadata
from scope_batch.sinks.npy import bytes_of
from scope_batch.sinks.sink import Block

PIPE_BYTES = 1 << 20
"""Linux's usual upper bound for an unprivileged pipe; 64 KiB would switch processes 18 times a frame."""
EXIT_WAIT_S = 30.0
"""Longest time in seconds between an encoder closing its input and its exit."""
FFMPEG_SIGNALLED = 255
"""ffmpeg's exit status after SIGTERM or SIGINT."""


class EncoderProcess:
    """An ffmpeg process that encodes frames uint8 [T, H, W, 3]. Always call `close`, which kills it if it runs."""

    def __init__(
        self,
        video: VideoFormat,
        target: Path | None,
        *,
        name: str,
        metadata: str | None = None,
        output_fd: int | None = None,
        lock_fd: int | None = None,
        check_stop: CheckStop = never_stop,
    ) -> None:
        """`target` None: the encoder writes to `output_fd`. `name` stands for the output in error messages.

        lock_fd     a locked descriptor; the lock lasts until both this process and the encoder have closed it.
        check_stop  called while the encoder accepts no data; if it raises, the encoder is killed.
        """
        self._name = name
        self._to_pipe = target is None
        self._silent = video.sound is None
        self._finished = False
        with tempfile.TemporaryFile() as text:  # unnamed: it vanishes however this process ends
            inherited_fds = [] if lock_fd is None else [lock_fd]
            if metadata is not None:
                text.write(ffmetadata(metadata).encode())
                text.seek(0)
                inherited_fds.append(text.fileno())
            args = encode_args(video, target, None if metadata is None else text.fileno())
            self._child = Child(args, stdin=True, output_fd=output_fd, pass_fds=inherited_fds)
        assert self._child.stdin is not None
        self._stdin = self._child.stdin
        self._patience = Patience(f"{name}: the encoder", check_stop, self._child.cpu_ticks)
        os.set_blocking(self._stdin.fileno(), False)
        with contextlib.suppress(OSError, AttributeError):  # optional: not every system supports or permits it
            fcntl.fcntl(self._stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def write(self, frames: Block) -> None:
        """Wait until the encoder has read all frames. Raises the error from `_failure` if it has exited."""
        try:
            if self._child.poll() is not None:
                raise BrokenPipeError
            self._send(bytes_of(frames))
        except BrokenPipeError:
            raise self._failure() from None
        except OSError as error:
            raise OutputError(f"{self._name}: the encoder cannot be written to: {error.strerror}") from error

    def finish(self) -> None:
        """Close the encoder's input and wait until it has written everything. May be called twice."""
        if self._finished:
            return
        self._stdin.close()
        code = self._wait()
        # Messages about a sound track may be harmless; raw frames alone never cause any.
        if code or (self._silent and self._child.last_messages()):
            raise self._failure()
        self._finished = True

    def kill(self) -> None:
        """Kill the encoder at once; may be called from any thread."""
        self._child.kill()

    def close(self) -> None:
        self._child.close()

    def _send(self, view: memoryview) -> None:
        ready = select.poll()
        ready.register(self._stdin.fileno(), select.POLLOUT)
        self._patience.moved()
        while view:
            if ready.poll(POLL_S * 1000):
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._stdin.fileno(), view) :]
                    self._patience.moved()
            else:
                self._check_patience()

    def _wait(self) -> int:
        self._patience.moved()
        while True:
            try:
                return self._child.wait(POLL_S)
            except TimeoutError:
                self._check_patience()

    def _check_patience(self) -> None:
        try:
            self._patience.check()
        except ScopeBatchError:
            self.kill()
            raise

    def _failure(self) -> ScopeBatchError:
        """Return the error that explains the encoder's exit: by its signal, its messages or its exit status."""
        try:
            code = self._child.wait(EXIT_WAIT_S)
        except TimeoutError:
            return OutputError(f"{self._name}: the encoder reads no more frames and does not exit")
        messages = self._child.last_messages()
        if code == -signal.SIGXFSZ:
            return OutputError(f"{self._name}: the encoder exceeded the limit on file sizes")
        if code < 0:
            return TemporaryError(f"{self._name}: the encoder was killed ({signal.Signals(-code).name})")
        if code == FFMPEG_SIGNALLED and not messages:
            return TemporaryError(f"{self._name}: the encoder was stopped by a signal")
        if self._to_pipe and "Broken pipe" in messages:
            return ClosedPipeError("standard output was closed by its reader")
        refuse_little_memory(self._name, messages)
        return OutputError(f"{self._name}: the encoder failed: {messages or f'exit status {code}'}")


def try_encoder(video: VideoFormat) -> None:
    """Encode two black frames to /dev/null. Raises JobError if the encoder rejects its options."""
    with Path(os.devnull).open("wb") as null:
        encoder = EncoderProcess(
            video, None, name=f"{video.container} ({video.options.codec})", output_fd=null.fileno()
        )
        try:
            encoder.write(np.zeros((2, video.height, video.width, 3), dtype=np.uint8))
            encoder.finish()
        except OutputError as error:
            if isinstance(error.__cause__, OSError):
                raise  # no fault of the options
            raise JobError(str(error)) from error
        finally:
            encoder.close()
