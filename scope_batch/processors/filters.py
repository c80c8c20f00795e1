"""Filters pictures in numpy: brightness, means over a window, gradients, half and double size.

Only sums, products, quotients and roots in a fixed order, so that a picture gives the same bits in any company.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RED, GREEN, BLUE = (np.uint32(thousandths) for thousandths in (299, 587, 114))
"""Weights of the channels in luma, ITU-R BT.601, in thousandths."""
assert RED + GREEN + BLUE == 1000


def luma(frame: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the luma of uint8 RGB [H, W, 3] as uint32 [H, W] in 0..255, rounded half up."""
    sums: NDArray[np.uint32] = frame[..., 0] * RED
    sums += frame[..., 1] * GREEN
    sums += frame[..., 2] * BLUE
    sums += np.uint32(500)
    sums //= np.uint32(1000)
    return sums


def box_mean(planes: Floats, radius: int) -> Floats:
    """Return the mean of every plane [N, H, W] over windows of 2 * radius + 1 pixels; the borders are repeated."""
    size = 2 * radius + 1
    height, width = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    rows = padded[:, :height].copy()
    for offset in range(1, size):
        rows += padded[:, offset : offset + height]
    mean = rows[:, :, :width].copy()
    for offset in range(1, size):
        mean += rows[:, :, offset : offset + width]
    mean *= np.float32(1 / size**2)
    return mean


def gradient(plane: Floats) -> tuple[Floats, Floats]:
    """Return the central differences of a plane [H, W] per pixel, to the right and down; the borders are repeated."""
    padded = np.pad(plane, 1, mode="edge")
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) * np.float32(0.5)
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) * np.float32(0.5)
    return across, down


def halved(plane: Floats) -> Floats:
    """Return the plane [H, W] at half the size, rounded up: means of 2 x 2 pixels."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) * np.float32(0.25)


def doubled(planes: Floats) -> Floats:
    """Return the planes [N, H, W] at twice the size, bilinearly."""
    return _twice_the_rows(_twice_the_rows(planes).swapaxes(1, 2)).swapaxes(1, 2)


def _twice_the_rows(planes: Floats) -> Floats:
    """Return planes [N, 2 * H, W]: the new rows lie a quarter of a row before and behind each old one."""
    padded = np.pad(planes, ((0, 0), (1, 1), (0, 0)), mode="edge")
    middle = padded[:, 1:-1] * np.float32(0.75)
    rows = np.stack([middle + padded[:, :-2] * np.float32(0.25), middle + padded[:, 2:] * np.float32(0.25)], axis=2)
    return rows.reshape(planes.shape[0], -1, planes.shape[2])
