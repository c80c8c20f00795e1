"""Small synthetic films, and the faults that a comparison has to find in them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from scope_batch.golden.streams import FrameStream

Film = NDArray[np.uint8]
HEIGHT, WIDTH = 48, 64


def moving_film(frames: int = 24, height: int = HEIGHT, width: int = WIDTH) -> Film:
    """A bright spot on a gradient that moves one pixel per frame, uint8 [T, H, W, 3]."""
    rows, columns = np.mgrid[:height, :width]
    film = np.empty((frames, height, width, 3), np.uint8)
    for index in range(frames):
        spot = 120 * np.exp(-((rows - height / 2) ** 2 + (columns - 2 * index - 4) ** 2) / 60)
        film[index] = np.stack([rows + spot, columns + spot, rows // 2 + columns // 2 + spot], axis=2) + 10
    return film


def one_level(frame: Film) -> Film:
    """The frame with one level added to every value."""
    return np.clip(frame.astype(np.int16) + 1, 0, 255).astype(np.uint8)


def stream(film: Iterable[Film], fps: int | None = None) -> FrameStream:
    return FrameStream("film", iter(list(film)), fps=None if fps is None else Fraction(fps))
