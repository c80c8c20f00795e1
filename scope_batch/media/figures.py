"""Measures what a film looks like, chunk by chunk: colour, contrast, sharpness, motion, and jumps between chunks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.frames import Frames

STEP = 4
"""Every 4th row and column is looked at: a sixteenth of the pixels, for sharpness with their neighbours."""
MOST_FRAMES = 4
"""Sharpness, contrast and colour of a chunk are those of so many of its frames, evenly spread, at most."""
LUMA = (54, 183, 19)
"""BT.709 weights of red, green and blue, of 256."""
STILL = 0.25
"""Levels; motion below it counts as so much, for noise of a still picture is no jump."""

Luma = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ChunkFigures:
    """What the delivered frames of a chunk look like. Values in levels of 0..255.

    red, green, blue  mean colour.
    contrast   standard deviation of the luma.
    sharpness  mean difference of the luma of adjacent pixels.
    motion     median over the chunk's frames of the mean difference of luma to the frame before; None for one frame.
    flicker    that difference where the chunk begins, as a multiple of the motion around it: about 1 if the border
               cannot be seen. None in the first chunk, and where there is no motion to compare with.
    """

    chunk: int
    red: float
    green: float
    blue: float
    contrast: float
    sharpness: float
    motion: float | None
    flicker: float | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values with four significant digits."""
        values = asdict(self)
        return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}


class FigureMeter:
    """Measures the chunks of a film, which it gets in order. It keeps one reduced frame and a few numbers."""

    def __init__(self) -> None:
        self._chunk = 0
        self._last: Luma | None = None
        self._motion: float | None = None

    def measure(self, frames: Frames) -> ChunkFigures | None:
        """Return the figures of the next chunk, uint8 [T, H, W, 3]; None if it delivers no frames."""
        chunk, self._chunk = self._chunk, self._chunk + 1
        if not len(frames):
            return None
        coarse = _luma(frames[:, ::STEP, ::STEP])
        border = None if self._last is None else _difference(self._last, coarse[0])
        steps = [_difference(one, other) for one, other in pairwise(coarse)]
        motion = median(steps) if steps else None
        around = [value for value in (self._motion, motion) if value is not None]
        flicker = None if border is None or not around else border / max(sum(around) / len(around), STILL)
        self._last, self._motion = coarse[-1].copy(), motion if motion is not None else self._motion
        shown = np.unique(np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int))
        some = frames[shown]
        red, green, blue = some[:, ::STEP, ::STEP].mean(axis=(0, 1, 2)).tolist()
        return ChunkFigures(
            chunk, red, green, blue, float(coarse[shown].std(axis=(1, 2)).mean()), _sharpness(some), motion, flicker
        )


def _sharpness(frames: Frames) -> float:
    across = _luma(frames[:, ::STEP])
    down = _luma(frames[:, :, ::STEP])
    parts = [(across[..., 1:], across[..., :-1]), (down[:, 1:], down[:, :-1])]
    differences = [_difference(one, other) for one, other in parts if one.size]
    return sum(differences) / len(differences) if differences else 0.0


def _luma(frames: Frames) -> Luma:
    red, green, blue = (frames[..., index].astype(np.uint16) * weight for index, weight in enumerate(LUMA))
    return ((red + green + blue) >> 8).astype(np.uint8)


def _difference(one: Luma, other: Luma) -> float:
    return float((np.maximum(one, other) - np.minimum(one, other)).mean())


def figures_of(chunks: Iterable[Frames]) -> list[ChunkFigures]:
    """Return the figures of all chunks that deliver frames."""
    meter = FigureMeter()
    return [found for frames in chunks if (found := meter.measure(frames)) is not None]
