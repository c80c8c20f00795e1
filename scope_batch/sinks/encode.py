"""Runs an encoder, which takes frames and ends with a file or with an error that gives the reason."""

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
from scope_batch.media.patience import LOOK_UP_S, CheckStop, Patience, never_stop
from scope_batch.sinks.command import VideoFormat, encode_args
from scope_batch.sinks.metadata import ffmetadata
from scope_batch.sinks.npy import bytes_of
from scope_batch.sinks.sink import Block

PIPE_BYTES = 1 << 20
"""Linux's usual upper bound for an unprivileged pipe; 64 KiB would switch processes 18 times a frame."""
EXIT_WAIT_S = 30.0
"""How long an encoder that has closed its input may take to end."""
FFMPEG_SIGNALLED = 255
"""ffmpeg's exit status when SIGTERM or SIGINT told it to end early."""


class EncoderProcess:
    """An ffmpeg child that takes frames uint8 [T, H, W, 3]. `close` is due in any case; it leaves no process behind."""

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
        """`target` None: it writes to `output_fd`. `name`: what errors call the output.

        lock_fd     a locked descriptor; the lock lasts until this process and the encoder have both let it go.
        check_stop  asked while the encoder stands still; when it raises, the encoder is killed.
        """
        self._name = name
        self._to_pipe = target is None
        self._silent = video.sound is None
        self._finished = False
        with tempfile.TemporaryFile() as text:  # it has no name, so nothing is left of it however this process ends
            given_fds = [] if lock_fd is None else [lock_fd]
            if metadata is not None:
                text.write(ffmetadata(metadata).encode())
                text.seek(0)
                given_fds.append(text.fileno())
            args = encode_args(video, target, None if metadata is None else text.fileno())
            self._child = Child(args, stdin=True, output_fd=output_fd, pass_fds=given_fds)
        assert self._child.stdin is not None
        self._stdin = self._child.stdin
        self._patience = Patience(f"{name}: the encoder", check_stop, self._child.cpu_ticks)
        os.set_blocking(self._stdin.fileno(), False)
        with contextlib.suppress(OSError, AttributeError):  # a wish: not every system has or grants it
            fcntl.fcntl(self._stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def write(self, frames: Block) -> None:
        """Waits until the encoder has taken all frames. Raises the error of `_failure` if it has ended."""
        try:
            if self._child.poll() is not None:
                raise BrokenPipeError
            self._send(bytes_of(frames))
        except BrokenPipeError:
            raise self._failure() from None

    def finish(self) -> None:
        """Let it write what it still holds, and wait for its end. May be called again."""
        if self._finished:
            return
        self._stdin.close()
        code = self._wait()
        # A sound track may have been complained about and still be whole; raw frames give no cause for complaint.
        if code or (self._silent and self._child.last_words()):
            raise self._failure()
        self._finished = True

    def kill(self) -> None:
        """From any thread: end it at once."""
        self._child.kill()

    def close(self) -> None:
        self._child.close()

    def _send(self, view: memoryview) -> None:
        ready = select.poll()
        ready.register(self._stdin.fileno(), select.POLLOUT)
        self._patience.moved()
        while view:
            if ready.poll(LOOK_UP_S * 1000):
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._stdin.fileno(), view) :]
                    self._patience.moved()
            else:
                self._check_patience()

    def _wait(self) -> int:
        self._patience.moved()
        while True:
            try:
                return self._child.wait(LOOK_UP_S)
            except TimeoutError:
                self._check_patience()

    def _check_patience(self) -> None:
        try:
            self._patience.check()
        except ScopeBatchError:
            self.kill()
            raise

    def _failure(self) -> ScopeBatchError:
        """Why the encoder is gone: its signal, or its exit status in its own last words."""
        try:
            code = self._child.wait(EXIT_WAIT_S)
        except TimeoutError:
            return OutputError(f"{self._name}: the encoder takes no more frames and does not end")
        words = self._child.last_words()
        if code == -signal.SIGXFSZ:
            return OutputError(f"{self._name}: the encoder exceeded the limit on file sizes")
        if code < 0:
            return TemporaryError(f"{self._name}: the encoder was killed ({signal.Signals(-code).name})")
        if code == FFMPEG_SIGNALLED and not words:
            return TemporaryError(f"{self._name}: the encoder was told to end by a signal")
        if self._to_pipe and "Broken pipe" in words:
            return ClosedPipeError("standard output was closed by its reader")
        refuse_little_memory(self._name, words)
        return OutputError(f"{self._name}: the encoder failed: {words or f'exit status {code}'}")


def try_encoder(video: VideoFormat) -> None:
    """Encode two black frames that go nowhere. Raises JobError if the encoder refuses its options."""
    with Path(os.devnull).open("wb") as nowhere:
        encoder = EncoderProcess(
            video, None, name=f"{video.container} ({video.options.codec})", output_fd=nowhere.fileno()
        )
        try:
            encoder.write(np.zeros((2, video.height, video.width, 3), dtype=np.uint8))
            encoder.finish()
        except OutputError as error:
            raise JobError(str(error)) from error
        finally:
            encoder.close()
