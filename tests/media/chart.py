"""A chart of 24 patches (the sRGB values of the ColorChecker), 96x64, and how far a picture of it is off."""

import numpy as np

from tests.media.conftest import Frames

PATCHES = np.array(
    [(115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170),
     (214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46),
     (56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161),
     (243, 243, 242), (200, 200, 200), (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52)],
    np.uint8,
).reshape(4, 6, 3)  # fmt: skip
SIDE, MARGIN = 16, 4


def chart(frames: int = 4) -> Frames:
    """uint8 [T, 64, 96, 3]."""
    picture = PATCHES.repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    return np.ascontiguousarray(np.broadcast_to(picture, (frames, *picture.shape)))


def largest_error(frame: Frames) -> float:
    """Levels of 255 by which the middle of the worst patch is off, in its worst channel."""
    patches = frame.reshape(4, SIDE, 6, SIDE, 3)[:, MARGIN:-MARGIN, :, MARGIN:-MARGIN].astype(float)
    return float(np.abs(patches.mean(axis=(1, 3)) - PATCHES).max())
