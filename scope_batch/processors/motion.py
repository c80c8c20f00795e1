"""Estimates the motion between two frames, in numpy: a pyramid, at each level a few steps of Lucas and Kanade.

Each step solves for the displacement that best explains the difference of both frames, once they are warped by the
displacement known so far, within a window around the pixel. Nothing is drawn at random and every pair of frames is
treated on its own, so the result does not depend on what came before.

References: B. Lucas, T. Kanade, "An iterative image registration technique with an application to stereo vision", 1981;
J.-Y. Bouguet, "Pyramidal implementation of the Lucas Kanade feature tracker", 2000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_batch.processors.filters import Floats, box_mean, doubled, gradient, halved, luma

LONGEST_SHORT_SIDE = 288
"""Pixels of the shorter side above which the motion is estimated at half the size."""
SHORTEST_SIDE = 12
"""Pixels of the shorter side of the smallest level, at least."""
STEPS = 3
"""Steps at each level."""
RADIUS = 3
"""Of the window, in pixels of the level; it is applied twice, so that its weights fall towards its border."""
NOISE = np.float32(16)
"""Square of the gradient in levels per pixel below which a window has too little structure to tell a displacement."""
STILL_RADIUS = 6
"""Of the window in which both frames must be equal for nothing to move there, in pixels of the finest level."""
STILL = np.float32(0.5)
"""Mean difference in such a window, in levels of 0..255, for which half of the estimated motion is believed."""
CHANGED_SCENE = 24.0
"""Mean difference of two frames in levels of 0..255, after their motion is compensated, above which they show two
scenes."""


@dataclass(frozen=True, slots=True)
class Motion:
    """The motion between two frames as seen at a time `at` between them: 0 = the earlier one, 1 = the later one.

    pixels      displacement from the earlier frame to the later one, float32 [2, H, W]: right, down.
    same_scene  False where too little of the later frame can be explained by the earlier one.
    """

    at: float
    pixels: Floats
    same_scene: bool


def estimate(before: NDArray[np.uint8], after: NDArray[np.uint8], at: float) -> Motion:
    """Return the motion between two frames, uint8 [H, W, 3], at a time of 0..1."""
    pairs = [(luma(before).astype(np.float32), luma(after).astype(np.float32))]
    height, width = pairs[0][0].shape
    while min(pairs[-1][0].shape) >= 2 * SHORTEST_SIDE:
        first, second = pairs[-1]
        pairs.append((halved(first), halved(second)))
    finest = 0
    while min(pairs[finest][0].shape) > LONGEST_SHORT_SIDE:
        finest += 1
    motion = np.zeros((2, *pairs[-1][0].shape), np.float32)
    for first, second in reversed(pairs[finest:]):
        motion = _enlarged(motion, *first.shape)
        for _ in range(STEPS):
            motion = _refined(first, second, motion, at)
    first, second = pairs[finest]
    motion *= _changed(first, second)
    rest = np.abs(warped(first, motion, -at) - warped(second, motion, 1 - at)).mean(dtype=np.float64)
    return Motion(at, _enlarged(motion, height, width), bool(rest <= CHANGED_SCENE))


def warped(image: Floats, motion: Floats, share: float) -> Floats:
    """Return the image, float32 [H, W] or [H, W, C], read at x + share * motion, bilinearly, clamped at the borders."""
    height, width = image.shape[:2]
    x = np.arange(width, dtype=np.float32) + np.float32(share) * motion[0]
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(share) * motion[1]
    np.clip(x, 0, width - 1, out=x)
    np.clip(y, 0, height - 1, out=y)
    left, top = np.minimum(x.astype(np.int32), width - 2), np.minimum(y.astype(np.int32), height - 2)
    x -= left
    y -= top
    index = top * width + left
    flat = image.reshape(height * width, -1)
    x, y = x.reshape(-1, 1), y.reshape(-1, 1)
    rows = []
    for offset in (0, width):
        start, end = flat[index.ravel() + offset], flat[index.ravel() + (offset + 1)]
        end -= start
        end *= x
        end += start
        rows.append(end)
    upper: Floats = rows[0]
    lower: Floats = rows[1]
    lower -= upper
    lower *= y
    lower += upper
    return lower.reshape(image.shape)


def _refined(first: Floats, second: Floats, motion: Floats, at: float) -> Floats:
    """Return the motion after one step: `first` is read backwards along it, `second` forwards, as `at` demands."""
    first, second = warped(first, motion, -at), warped(second, motion, 1 - at)
    change = second - first
    seen = first + change * np.float32(at)
    across, down = gradient(seen)
    products = np.stack([across * across, across * down, down * down, across * change, down * change])
    xx, xy, yy, xt, yt = box_mean(box_mean(products, RADIUS), RADIUS)
    xx += NOISE
    yy += NOISE
    scale = np.float32(1) / (xx * yy - xy * xy)
    step: Floats = np.stack([(xy * yt - yy * xt) * scale, (xy * xt - xx * yt) * scale])
    np.clip(step, -1, 1, out=step)
    step += motion
    return step


def _changed(first: Floats, second: Floats) -> Floats:
    """Return 0..1 [H, W]: 0 where both frames are equal.

    It keeps flat areas beside a moving thing from following it.
    """
    difference = np.abs(first - second)[None]
    squares: Floats = np.square(box_mean(box_mean(difference, STILL_RADIUS), STILL_RADIUS)[0])
    squares /= squares + STILL * STILL
    return squares


def _enlarged(motion: Floats, height: int, width: int) -> Floats:
    """Return the motion [2, H, W] of a smaller level at a larger size; its lengths grow as the size does."""
    while motion.shape[1:] != (height, width):
        rows = min(2 * motion.shape[1], height)
        columns = min(2 * motion.shape[2], width)
        motion = 2 * doubled(motion)[:, :rows, :columns]
    return motion
