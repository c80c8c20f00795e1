"""Reads control frames and masks from float arrays, frame by frame; they are never resized."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.timing import Timing
from scope_batch.errors import JobError
from scope_batch.media.array_file import ArrayFile, ArrayPlace, Locate
from scope_batch.media.source import Closing

ALLOWED = {
    "control": "control frames are float32 or float16 [1, 3, T, H, W] (or 1 channel) in -1..1, or uint8 [T, H, W, 3]",
    "masks": "masks are float32 or float16 [1, 1, T, H, W] in 0..1, or uint8 [T, H, W, 3]",
}


class FloatArrayReader(Closing):
    """An open array [1, C, T, H, W]: C 1 or 3 for control frames, 1 for masks. Frames can be read in any order."""

    unread: tuple[str, ...] = ()
    """Names of other tensors in its file."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __init__(self, path: Path, locate: Locate, kind: Literal["control", "masks"]) -> None:
        self._array = ArrayFile(path, locate, lambda place, name: _check(place, name, kind))
        self.name = self._array.name
        _, self.channels, self.frames, self.height, self.width = self._array.place.shape
        self.timing = Timing.even(self.frames)

    def planes(self, index: int) -> NDArray[np.float32]:
        """Return frame `index` as a new float32 [C, H, W]. Raises JobError if the file was truncated."""
        size, element = self.height * self.width, self._array.place.element
        planes = np.empty((self.channels, self.height, self.width), np.float32)
        for channel, plane in enumerate(planes):
            data = self._array.read((channel * self.frames + index) * size, size, index)
            plane[...] = as_float32(data, element).reshape(plane.shape)
        return planes

    def interrupt(self) -> None:
        """Do nothing: reading one frame takes little time."""

    def close(self) -> None:
        self._array.close()


def as_float32(data: NDArray[Any], element: str) -> NDArray[np.float32]:
    """Convert data of type `element` ("float32", "float16", "bfloat16") to float32, exactly."""
    if element == "bfloat16":
        return (data.astype(np.uint32) << 16).view(np.float32)
    return data.astype(np.float32, copy=False)


def _check(place: ArrayPlace, name: str, kind: Literal["control", "masks"]) -> None:
    if place.element not in ("float32", "float16", "bfloat16"):
        raise JobError(f"{name}: dtype {place.element} is not allowed; {ALLOWED[kind]}")
    shape = place.shape
    if len(shape) != 5 or shape[0] != 1 or min(shape) < 1:
        raise JobError(f"{name}: shape {list(shape)} is not allowed; {ALLOWED[kind]}")
    if kind == "masks" and shape[1] != 1:
        raise JobError(f"{name}: a mask has 1 channel, this one has {shape[1]}: shape {list(shape)}")
    if kind == "control" and shape[1] not in (1, 3):
        raise JobError(f"{name}: control frames have 3 channels or 1, these have {shape[1]}: shape {list(shape)}")
