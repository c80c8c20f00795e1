"""Frames of an uncompressed uint8 array: `.npy`, the `.bin` of the upload protocol, or a part of a data blob."""

from __future__ import annotations

from math import prod
from pathlib import Path

from scope_batch.core.timing import Timing
from scope_batch.errors import JobError
from scope_batch.media.array_file import ArrayFile, ArrayPlace, Locate
from scope_batch.media.source import Frame, Source

CHANNELS = 3


class ArraySource(Source):
    """uint8 [T, H, W, 3] in C order, one frame read at a time."""

    def __init__(self, path: Path, locate: Locate) -> None:
        self._array = ArrayFile(path, locate, _check)
        self.name = self._array.name
        frames, self.height, self.width, _ = self._array.place.shape
        self.timing = Timing.even(frames)

    def frame(self, index: int) -> Frame:
        size = self.height * self.width * CHANNELS
        return self._array.read(index * size, size, index).reshape(self.height, self.width, CHANNELS)

    def close(self) -> None:
        self._array.close()


def _check(place: ArrayPlace, name: str) -> None:
    if place.element != "uint8":
        raise JobError(f"{name}: dtype {place.element} is not uint8")
    shape = place.shape
    if len(shape) != 4 or shape[3] != CHANNELS or min(shape) < 1:
        raise JobError(f"{name}: shape {list(shape)} is not [T, H, W, 3] with at least one frame")
    assert place.frame_bytes == prod(shape[1:])
