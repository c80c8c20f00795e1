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
"""The kinds of elements that can be read, and what is read for them."""


@dataclass(frozen=True, slots=True)
class ArrayPlace:
    """The position, dtype and shape of an array in its file.

    start    first byte.
    element  "uint8", "float32", "float16", "bfloat16"; another word is a kind that cannot be read.
    alone    nothing may follow it in the file.
    """

    start: int
    shape: Shape
    element: str
    alone: bool = True

    @property
    def frame_bytes(self) -> int:
        """Bytes of the whole array over its frames: axis 0 of [T, H, W, C], axis 2 of [1, C, T, H, W]."""
        return self.bytes // self.frames

    @property
    def frames(self) -> int:
        return self.shape[0] if len(self.shape) == 4 else self.shape[2]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * STORAGE[self.element].itemsize


Locate = Callable[[BinaryIO, str], ArrayPlace]
"""Finds the array in an open file; the second argument is the file's name for messages."""


class ArrayFile(Closing):
    """An open file with an array in it. `check` raises JobError for a place that is not what it should be."""

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
        """`count` elements from element `first` on, flat, the caller's own. `frame` is for the message of a JobError:
        the file has become shorter, or cannot be read."""
        data = np.empty(count, self._storage)
        left = data.data.cast("B")
        at = self.place.start + first * data.itemsize
        while left:
            try:
                got = os.preadv(self._file.fileno(), [left], at)
            except OSError as error:
                raise JobError(f"{self.name}: frame {frame} cannot be read: {error.strerror or error}") from error
            if not got:
                frames = self.place.frames
                raise JobError(f"{self.name}: frame {frame} of {frames} is missing: the file became shorter")
            left, at = left[got:], at + got
        return data

    def close(self) -> None:
        self._file.close()

    def _check_length(self) -> None:
        place, size = self.place, os.fstat(self._file.fileno()).st_size
        found, promised = size - place.start, place.bytes
        if not place.alone and found < promised:
            reach = f"{promised} bytes from byte {place.start} on for shape {list(place.shape)}"
            raise JobError(f"{self.name}: has {size} bytes, too few: {reach}")
        if found < promised:
            whole = found // place.frame_bytes
            raise JobError(f"{self.name}: is cut short: it holds {whole} of the {place.frames} frames it promises")
        if place.alone and found > promised:
            raise JobError(f"{self.name}: {found - promised} bytes follow the {place.frames} frames it promises")
