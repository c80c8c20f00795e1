"""Brightness in all three channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scope_batch.processors.spec import EachFrame, ProcessorSpec

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames

RED, GREEN, BLUE = (np.uint32(thousandths) for thousandths in (299, 587, 114))
"""Shares of ITU-R BT.601."""
assert RED + GREEN + BLUE == 1000


def luma(frame: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """uint8 [H, W, 3] -> 0..255 [H, W], rounded to the nearest, halves up."""
    sums: NDArray[np.uint32] = frame[..., 0] * RED
    sums += frame[..., 1] * GREEN
    sums += frame[..., 2] * BLUE
    sums += np.uint32(500)
    sums //= np.uint32(1000)
    return sums


def gray(frames: Frames) -> Frames:
    made = np.empty_like(frames)
    for index, frame in enumerate(frames):  # one at a time stays in the cache
        made[index] = luma(frame)[..., None]
    return made


GRAY = ProcessorSpec("gray", "brightness in all three channels (BT.601)", lambda _: EachFrame(gray))
