"""Writes video files through an ffmpeg process."""

from __future__ import annotations

from pathlib import Path

from scope_batch.media.patience import CheckStop, never_stop
from scope_batch.sinks.command import VideoFormat
from scope_batch.sinks.encode import EncoderProcess
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import Block, FileSink
from scope_batch.sinks.verify import verify_video


class VideoSink(FileSink):
    """Writes frames uint8 [T, H, W, 3] to a video container. `metadata`: text for the container's `comment`."""

    def __init__(
        self,
        path: Path,
        frames: int,
        video: VideoFormat,
        publication: Publication,
        *,
        metadata: str | None = None,
        sidecar: str | None = None,
        check_stop: CheckStop = never_stop,
    ) -> None:
        super().__init__(path, frames, publication, sidecar=sidecar)
        self._video = video
        self._metadata = metadata
        self._check_stop = check_stop
        self._encoder: EncoderProcess | None = None

    def abort(self) -> None:
        if self._encoder is not None:
            self._encoder.kill()

    def _open(self, fd: int, file: Path) -> None:  # noqa: ARG002  (each sink uses one of the two)
        self._encoder = EncoderProcess(
            self._video,
            file,
            name=str(self.path),
            metadata=self._metadata,
            lock_fd=self._work.lock_fd,
            check_stop=self._check_stop,
        )

    def _write(self, block: Block) -> None:
        assert self._encoder is not None
        self._encoder.write(block)

    def _finish(self) -> None:
        assert self._encoder is not None
        self._encoder.finish()

    def _verify(self, file: Path) -> None:
        verify_video(file, self.written, self._video.height, self._video.width, self._check_stop)

    def _close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
