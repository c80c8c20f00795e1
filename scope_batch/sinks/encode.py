"""A running encoder: frames in, and in the end a file or an error that says why there is none."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import tempfile
from pathlib import Path

from scope_batch.errors import ClosedPipeError, JobError, OutputError, ScopeBatchError, TemporaryError
from scope_batch.media.ffmpeg import Child
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
    ) -> None:
        """`target` None: it writes to `output_fd`. `name`: what errors call the output."""
        self._name = name
        self._to_pipe = target is None
        self._silent = video.sound is None
        self._finished = False
        self._folder = tempfile.TemporaryDirectory(prefix="scope-batch-")
        try:
            self._child = Child(
                encode_args(video, target, self._metadata_file(metadata)), stdin=True, output_fd=output_fd
            )
        except BaseException:
            self._folder.cleanup()
            raise
        assert self._child.stdin is not None
        self._stdin = self._child.stdin
        with contextlib.suppress(OSError, AttributeError):  # a wish: not every system has or grants it
            fcntl.fcntl(self._stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def write(self, frames: Block) -> None:
        """Blocks until the encoder has taken all frames. Raises what `_failure` says if it is gone."""
        try:
            if self._child.poll() is not None:
                raise BrokenPipeError
            self._stdin.write(bytes_of(frames))
            self._stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def finish(self) -> None:
        """Let it write what it still holds, and wait for its end. May be called again."""
        if self._finished:
            return
        with contextlib.suppress(BrokenPipeError):  # its exit status says more
            self._stdin.close()
        code = self._child.wait()
        # A sound track may have been complained about and still be whole; raw frames give no cause for complaint.
        if code or (self._silent and self._child.last_words()):
            raise self._failure()
        self._finished = True

    def kill(self) -> None:
        """From any thread: end it at once."""
        self._child.kill()

    def close(self) -> None:
        self._child.close()
        self._folder.cleanup()

    def _metadata_file(self, metadata: str | None) -> Path | None:
        if metadata is None:
            return None
        file = Path(self._folder.name, "metadata.txt")
        file.write_text(ffmetadata(metadata), encoding="utf-8")
        return file

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
        return OutputError(f"{self._name}: the encoder failed: {words or f'exit status {code}'}")


def try_encoder(video: VideoFormat) -> None:
    """Encode two black frames to a file that is thrown away. Raises JobError if the encoder refuses its options."""
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="scope-batch-") as folder:
        encoder = EncoderProcess(video, Path(folder, "try"), name=f"{video.container} ({video.options.codec})")
        try:
            encoder.write(np.zeros((2, video.height, video.width, 3), dtype=np.uint8))
            encoder.finish()
        except OutputError as error:
            raise JobError(str(error)) from error
        finally:
            encoder.close()
