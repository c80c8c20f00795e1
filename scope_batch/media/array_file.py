"""Reads an array in C order from anywhere in a file, piece by piece.

Never mapped: a file that shrinks under a mapping kills the process. Never unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from scope_batch.errors import JobError
from scope_batch.media.source import Closing

Shape = tuple[int, ...]

STORAGE: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype("u1"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
}
"""Element type -> the numpy dtype under which it is read."""


@dataclass(frozen=True, slots=True)
class ArrayPlace:
    """The position, dtype and shape of an array in its file.

    start    first byte.
    element  "uint8", "float32", "float16", "bfloat16"; any other type cannot be read.
    alone    True: no bytes may follow the array in the file.
    """

    start: int
    shape: Shape
    element: str
    alone: bool = True

    @property
    def frame_bytes(self) -> int:
        """Bytes per frame; frames are axis 0 of [T, H, W, C], axis 2 of [1, C, T, H, W]."""
        return self.bytes // self.frames

    @property
    def frames(self) -> int:
        return self.shape[0] if len(self.shape) == 4 else self.shape[2]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * STORAGE[self.element].itemsize


Locate = Callable[[BinaryIO, str], ArrayPlace]
"""Returns the place of the array in an open file; the second argument is the file's name for messages."""


class ArrayFile(Closing):
    """An open file with an array. `check` raises JobError for a wrong dtype or shape."""

    def __init__(self, path: Path, locate: Locate, check: Callable[[ArrayPlace, str], None]) -> None:
        self.name = path.name
        self._file = path.open("rb", buffering=0)
        try:
            self.place = locate(self._file, self.name)
            check(self.place, self.name)
            self._check_length()
        except BaseException:
            self._file.close()
            raise
        self._storage = STORAGE[self.place.element]

    def read(self, first: int, count: int, frame: int) -> NDArray[Any]:
        """Return a new flat array of `count` elements from element `first` on.

        Raises JobError, which names frame `frame`, if the file was truncated or cannot be read.
        """
        data = np.empty(count, self._storage)
        missing = data.data.cast("B")
        offset = self.place.start + first * data.itemsize
        while missing:
            try:
                count_read = os.preadv(self._file.fileno(), [missing], offset)
            except OSError as error:
                raise JobError(f"{self.name}: frame {frame} cannot be read: {error.strerror or error}") from error
            if not count_read:
                frames = self.place.frames
                raise JobError(f"{self.name}: frame {frame} of {frames} is missing: the file became shorter")
            missing, offset = missing[count_read:], offset + count_read
        return data

    def close(self) -> None:
        self._file.close()

    def _check_length(self) -> None:
        place, size = self.place, os.fstat(self._file.fileno()).st_size
        available, needed = size - place.start, place.bytes
        if not place.alone and available < needed:
            reach = f"{needed} bytes from byte {place.start} on for shape {list(place.shape)}"
            raise JobError(f"{self.name}: has {size} bytes, too few: {reach}")
        if available < needed:
            complete = available // place.frame_bytes
            raise JobError(f"{self.name}: is cut short: it holds {complete} of the {place.frames} frames in its header")
        if place.alone and available > needed:
            raise JobError(f"{self.name}: {available - needed} bytes follow the {place.frames} frames of its header")
