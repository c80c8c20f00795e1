"""Writes PNG files: a sequence with one file per frame, and the preview of a render."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scope_batch.core.frames import Frames
from scope_batch.errors import OutputError
from scope_batch.sinks.metadata import PNG_KEY
from scope_batch.sinks.output import numbered, output_errors
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import Block, stops_now
from scope_batch.sinks.verify import verify_pictures

COMPRESSION = 3
"""zlib level: four times as fast as the default 6, with about a tenth more bytes."""
_NO_JOB = "{}"
"""Text of pictures without metadata. Every picture carries `PNG_KEY`, since only such pictures are ever removed."""


def encode_png(frame: Frames, text: str | None = None) -> bytes:
    """Encode a frame uint8 [H, W, 3] as PNG; `text` is stored, compressed, under the key that `read_metadata` reads."""
    info = PngInfo()
    info.add_itxt(PNG_KEY, text or _NO_JOB, zip=True)
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=COMPRESSION, pnginfo=info)
    return buffer.getvalue()


class PngSink:
    """Writes one file per frame, numbered from 0; published when all are complete, after a stop as partials."""

    def __init__(self, pattern: Path, frames: int, publication: Publication, *, metadata: str | None = None) -> None:
        self.pattern = pattern
        self._expected = frames
        self._publication = publication
        self._work = publication.work(pattern)
        self._metadata = metadata
        self._written = 0
        self._failed = False

    @property
    def result(self) -> Path | None:
        return self._work.result

    def __enter__(self) -> Self:
        return self

    def write(self, block: Block) -> None:
        """Raises OutputError."""
        self._failed = True
        for frame in block:
            with output_errors(self.pattern):
                self._work.write(numbered(self.pattern, self._written).name, encode_png(frame, self._metadata))
            self._written += 1
        self._failed = False

    def abort(self) -> None:
        """Do nothing: `write` never blocks for long."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (self._failed or not self._written or stops_now(error)):
            return
        if error is None and self._written != self._expected:
            raise OutputError(f"{self.pattern}: {self._written} of {self._expected} frames were written")
        try:
            verify_pictures([self._work.path / numbered(self.pattern, index).name for index in range(self._written)])
        except OutputError as second:
            if error is None:
                raise
            error.add_note(f"no partial kept: {second}")
        else:
            self._publication.add_complete(self._work)


class PreviewSink:
    """Writes one PNG, which is replaced after each block by its last frame."""

    def __init__(self, path: Path, publication: Publication) -> None:
        self.path = path
        self.result: Path | None = None
        self._work = publication.work(path)

    def __enter__(self) -> Self:
        return self

    def write(self, block: Block) -> None:
        """Raises OutputError, which ends the render, as a preview that is not updated would mislead."""
        with output_errors(self.path):
            self._work.write(self.path.name, encode_png(block[-1]), sync=False)
            self._work.move_out(self.path.name, self.path.name)

    def abort(self) -> None:
        """Do nothing: `write` never blocks for long."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep the last picture, whatever ended the render."""
