"""Frame sizes that a pipeline takes, and how far they are from those its model was trained on."""

from __future__ import annotations

from math import sqrt

from scope_batch.core.geometry import SIZE_STEP

MAX_SIDE, MIN_SIDE = 2048, 64
NEAR_AREA = (0.4, 2.0)
"""Times the trained area: models still draw well there. A pipeline's own default size is among them."""


def fitted_size(height: int, width: int) -> tuple[int, int]:
    """The nearest size that a pipeline takes: multiples of 16 in 64..2048, proportions kept as far as they allow."""
    scale = min(1.0, MAX_SIDE / max(height, width))
    scale = max(scale, min(MIN_SIDE / min(height, width), MAX_SIDE / max(height, width)))
    return _step(height * scale), _step(width * scale)


def trained_size(height: int, width: int, trained: tuple[int, int]) -> tuple[int, int]:
    """Height and width in the proportions of a picture, of about the area that a model was trained on.

    A picture that is smaller, and still near it, keeps its own size.
    """
    times = area_times(height, width, trained)
    if NEAR_AREA[0] <= times <= 1:
        return fitted_size(height, width)
    scale = 1 / sqrt(times)
    return fitted_size(max(1, round(height * scale)), max(1, round(width * scale)))


def area_times(height: int, width: int, trained: tuple[int, int]) -> float:
    """The area of a picture over that of the trained size."""
    return height * width / (trained[0] * trained[1])


def _step(pixels: float) -> int:
    return min(max(round(pixels / SIZE_STEP) * SIZE_STEP, MIN_SIDE), MAX_SIDE)
