"""Finds out from reduced frames whether one film is a shifted copy of the other, or has frames in another order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scope_batch.media.source import Frame

SIDE = 8
"""Reduced frames are 8x8 pixels: 192 bytes for each frame of a film."""
MOST_SHIFT = 48
"""Frames; a larger offset is not searched for."""
FEWEST_FRAMES = 3
"""An offset is believed if at least so many frames agree with it."""
MUCH_NEARER = 0.3
"""Frames belong together if their difference is at most this share of the difference in place."""
VISIBLE = 0.05
"""Mean difference of reduced frames in levels, below which frames are not told apart."""
WINDOW = 192
"""Frames behind the first difference in which an offset is searched for."""
MOST_FOR_SWAPS = 64
"""Exchanged frames are searched for if at most so many frames differ."""

Reduced = NDArray[np.uint8]


def reduced(frame: Frame, width: int = SIDE, height: int = SIDE) -> Reduced:
    """Return the frame as uint8 [height, width, 3], each pixel the mean of its area."""
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))


@dataclass(frozen=True, slots=True)
class Shift:
    """From frame `first` on, frame i of A is frame i + `frames` of B. Below 0: B lacks frames; above 0: it has more."""

    first: int
    frames: int

    def __str__(self) -> str:
        count = abs(self.frames)
        last = self.first + count - 1
        named = f"frame {self.first}" if count == 1 else f"frames {self.first} to {last}"
        if self.frames < 0:
            return f"B lacks {named} of A: from there on B is {_frames(count)} ahead"
        return f"B has {_frames(count)} more before frame {self.first} of A: from there on B is {_frames(count)} behind"


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"


def find_shift(a: Sequence[Reduced], b: Sequence[Reduced], first: int) -> Shift | None:
    """Return the offset that explains the differences from frame `first` on, None if there is none.

    Where the film itself hardly changes over an offset, nothing tells that offset from none.
    """
    rest_a, rest_b = (_flat(film[first : first + WINDOW]) for film in (a, b))
    in_place = min(len(rest_a), len(rest_b))
    if in_place < FEWEST_FRAMES:
        return None
    nearest, best = float(np.abs(rest_a[:in_place] - rest_b[:in_place]).mean()) * MUCH_NEARER, 0
    for shift in sorted(range(-MOST_SHIFT, MOST_SHIFT + 1), key=abs):
        moved_a, moved_b = rest_a[max(-shift, 0) :], rest_b[max(shift, 0) :]
        count = min(len(moved_a), len(moved_b))
        if shift and count >= max(FEWEST_FRAMES, in_place // 4):
            distance = float(np.abs(moved_a[:count] - moved_b[:count]).mean())
            ahead, behind = (moved_a, rest_a) if shift < 0 else (moved_b, rest_b)
            motion = float(np.abs(ahead[:count] - behind[:count]).mean())
            if distance < min(nearest, MUCH_NEARER * motion):
                nearest, best = distance, shift
    return Shift(first, best) if best else None


def find_swaps(a: Sequence[Reduced], b: Sequence[Reduced], differing: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of frames that stand in each other's place in B. differing: the frames that differ."""
    if len(differing) > MOST_FOR_SWAPS:
        return []
    return list(_swaps(_flat([a[index] for index in differing]), _flat([b[index] for index in differing]), differing))


def _swaps(a: NDArray[np.float32], b: NDArray[np.float32], differing: Sequence[int]) -> Iterator[tuple[int, int]]:
    distances = np.abs(a[:, None] - b[None, :]).mean(axis=2)
    for one in range(len(differing)):
        for two in range(one + 1, len(differing)):
            crossed = max(distances[one, two], distances[two, one])
            in_place = min(distances[one, one], distances[two, two])
            if in_place > VISIBLE and crossed < MUCH_NEARER * in_place:
                yield differing[one], differing[two]


def _flat(frames: Sequence[Reduced]) -> NDArray[np.float32]:
    if not frames:
        return np.zeros((0, 1), np.float32)
    return np.stack(frames).reshape(len(frames), -1).astype(np.float32)
