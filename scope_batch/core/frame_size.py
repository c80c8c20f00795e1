"""Computes frame sizes that a pipeline accepts, and compares them with the size its model was trained on."""

from __future__ import annotations

from math import sqrt

from scope_batch.core.geometry import SIZE_STEP

MAX_SIDE, MIN_SIDE = 2048, 64
NEAR_AREA = (0.4, 2.0)
"""Range of areas, relative to the trained one, that still give good frames; includes every default size."""


def fitted_size(height: int, width: int) -> tuple[int, int]:
    """Return the nearest accepted (height, width): multiples of 16 in 64..2048, with about the same proportions."""
    scale = min(1.0, MAX_SIDE / max(height, width))
    scale = max(scale, min(MIN_SIDE / min(height, width), MAX_SIDE / max(height, width)))
    return _step(height * scale), _step(width * scale)


def trained_size(height: int, width: int, trained: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) with the proportions of the input and about the area of the trained size.

    A smaller input whose area is in `NEAR_AREA` keeps its own size.
    """
    times = area_times(height, width, trained)
    if NEAR_AREA[0] <= times <= 1:
        return fitted_size(height, width)
    scale = 1 / sqrt(times)
    return fitted_size(max(1, round(height * scale)), max(1, round(width * scale)))


def area_times(height: int, width: int, trained: tuple[int, int]) -> float:
    """Return the area of a frame divided by that of the trained size."""
    return height * width / (trained[0] * trained[1])


def _step(pixels: float) -> int:
    return min(max(round(pixels / SIZE_STEP) * SIZE_STEP, MIN_SIDE), MAX_SIDE)
