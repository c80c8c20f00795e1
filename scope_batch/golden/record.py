"""Records what is kept of a film as a golden: a checksum and a thumbnail of every frame, and some whole frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

from scope_batch.core.timing import STILL_FPS
from scope_batch.errors import JobError
from scope_batch.golden.alignment import Reduced, reduced
from scope_batch.golden.frame_hashes import FrameHashes, frame_sha256
from scope_batch.golden.streams import FrameStream
from scope_batch.media.source import Frame

THUMBNAIL = 16
"""Pixels of the longer side of a thumbnail."""


@dataclass(frozen=True, slots=True)
class Record:
    """A film as far as it is kept.

    pictures  frame number -> the whole frame, of some frames.
    unlike    the first frame whose checksum was not the expected one, where there was something to expect.
    """

    frames: FrameHashes
    thumbnails: tuple[Reduced, ...]
    pictures: dict[int, Frame]
    unlike: tuple[int, Frame] | None = None

    @property
    def count(self) -> int:
        return len(self.frames.hashes)


def record(
    stream: FrameStream,
    pictures: Collection[int],
    expected: Sequence[str] | None = None,
) -> Record:
    """Read a whole film. pictures: frames to keep whole. expected: checksums, to keep the first frame unlike them."""
    hashes: list[str] = []
    thumbnails: list[Reduced] = []
    kept: dict[int, Frame] = {}
    unlike: tuple[int, Frame] | None = None
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(stream.frames):
        shape = shape or frame.shape
        if frame.shape != shape:
            raise JobError(f"{stream.name}: frame {index} has another size than frame 0")
        hashes.append(frame_sha256(frame))
        thumbnails.append(reduced(frame, *thumbnail_size(*shape[:2])))
        if index in pictures:
            kept[index] = frame.copy()
        if expected is not None and unlike is None and (index >= len(expected) or hashes[-1] != expected[index]):
            unlike = (index, frame.copy())
    if shape is None:
        raise JobError(f"{stream.name}: holds no frames")
    rate = stream.fps or Fraction(STILL_FPS)
    return Record(FrameHashes(tuple(hashes), rate, shape[0], shape[1]), tuple(thumbnails), kept, unlike)


def thumbnail_size(height: int, width: int) -> tuple[int, int]:
    """Return width and height of the thumbnails of such frames."""
    longer = max(height, width)
    return max(1, round(THUMBNAIL * width / longer)), max(1, round(THUMBNAIL * height / longer))


def spread(count: int, pictures: int) -> list[int]:
    """Return at most `pictures` frame numbers of a film of `count` frames, evenly spread from the first to the last."""
    pictures = min(max(pictures, 1), count)
    return sorted({round(index * (count - 1) / max(pictures - 1, 1)) for index in range(pictures)})
