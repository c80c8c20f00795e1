"""Measures how far two frames differ: largest difference, share of pixels over a threshold, PSNR, SSIM."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_batch.media.source import Frame

LEVELS = 256
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""BT.709 weights of red, green and blue."""
_BLOCK = 4
"""SSIM windows are two blocks wide and high and one block apart: 8x8 pixels every 4."""


@dataclass(frozen=True, slots=True)
class FrameDifference:
    """The difference of two frames of equal size.

    counts   pixels by the difference of their most different channel in levels, int64 [256].
    psnr_db  over all values of all channels; infinite for equal frames.
    ssim     of the luma, at most 1; see `ssim`.
    """

    counts: NDArray[np.int64]
    psnr_db: float
    ssim: float

    @property
    def largest(self) -> int:
        """The largest difference of a value in levels, 0..255."""
        return int(np.flatnonzero(self.counts)[-1])

    @property
    def equal(self) -> bool:
        return self.largest == 0

    def percent_over(self, levels: float) -> float:
        """Return the percentage of pixels of which a channel differs by more than `levels`."""
        first = math.floor(levels) + 1
        return 100 * float(self.counts[max(first, 0) :].sum() / self.counts.sum())


def measure(a: Frame, b: Frame) -> FrameDifference:
    """Compare two frames, uint8 [H, W, 3] of equal size."""
    assert a.shape == b.shape
    pixels = a.shape[0] * a.shape[1]
    if np.array_equal(a, b):
        counts = np.zeros(LEVELS, np.int64)
        counts[0] = pixels
        return FrameDifference(counts, math.inf, 1.0)
    difference = np.maximum(a, b) - np.minimum(a, b)
    values = np.bincount(difference.ravel(), minlength=LEVELS)
    mean_square = float(values @ (np.arange(LEVELS, dtype=np.int64) ** 2)) / difference.size
    counts = np.bincount(difference.max(axis=2).ravel(), minlength=LEVELS)
    return FrameDifference(counts, 10 * math.log10(255**2 / mean_square), ssim(luma(a), luma(b)))


def luma(frame: Frame) -> NDArray[np.float32]:
    """Return the BT.709 luma, float32 [H, W] in 0..255."""
    weighted: NDArray[np.float32] = frame.astype(np.float32) @ LUMA
    return weighted


def ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the structural similarity of two pictures [H, W] in 0..255, the mean over windows of 8x8 pixels.

    With the means m, the sample variances v and the sample covariance c in a window it is
    (2 ma mb + C1) (2 c + C2) / ((ma² + mb² + C1) (va + vb + C2)), where C1 = (0.01 * 255)² and C2 = (0.03 * 255)²
    (Wang et al. 2004). The windows are those of ffmpeg's filter `ssim`: 4 pixels apart, without the last rows and
    columns that fill none. A picture under 8 pixels wide or high is one window.
    """
    maps = np.stack([a, b, a * a, b * b, a * b]).astype(np.float64)
    height, width = a.shape
    if min(height, width) < 2 * _BLOCK:
        sums, count = maps.sum(axis=(1, 2)), height * width
    else:
        rows, columns = height // _BLOCK, width // _BLOCK
        blocks = maps[:, : rows * _BLOCK, : columns * _BLOCK].reshape(5, rows, _BLOCK, columns, _BLOCK).sum(axis=(2, 4))
        sums = blocks[:, :-1, :-1] + blocks[:, 1:, :-1] + blocks[:, :-1, 1:] + blocks[:, 1:, 1:]
        count = 4 * _BLOCK**2
    mean_a, mean_b, *squares = sums / count
    sample = count / max(count - 1, 1)
    variance_a, variance_b, covariance = (
        sample * (square - product)
        for square, product in zip(squares, (mean_a**2, mean_b**2, mean_a * mean_b), strict=True)
    )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float(similarity.mean())
