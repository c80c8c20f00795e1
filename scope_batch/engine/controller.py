"""The noise controller of video mode: less noise where the input moves, more where it stands still.

Computed on the host from the frames as they are read, so it costs the device nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_batch import laws


class NoiseController:
    """Remembers the last input frame of the chunk before; `reset` where the input starts anew."""

    def __init__(self, frames: int) -> None:
        """frames: how many of a chunk's last ones are looked at (as many as its block has latent frames)."""
        self._frames = frames
        self._last: NDArray[np.float32] | None = None

    def reset(self) -> None:
        self._last = None

    def motion(self, pixels: NDArray[np.generic]) -> float:
        """Motion in 0..1 at the end of a chunk's frames [T, H, W, 3] (0..255), and remember its last frame.

        The largest RMS difference over the last `frames` frames, each against its predecessor; the first of them is
        compared with the last frame of the chunk before, if there is one (as the reference does).
        """
        tail = pixels[-(self._frames + 1) :].astype(np.float32)
        newer = tail[-self._frames :]
        older = (
            [tail[-len(newer) - 1 + i] for i in range(len(newer))] if len(tail) > len(newer) else [None, *newer[:-1]]
        )
        if self._last is not None:
            older[0] = self._last
        largest = max((_rms(a, b) for a, b in zip(newer, older, strict=True) if b is not None), default=0.0)
        self._last = newer[-1].copy()
        return min(largest / laws.CONTROLLER_FULL_MOTION, 1.0)


def _rms(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """RMS difference of two frames (0..255) on the scale -1..1."""
    return float(np.sqrt(np.mean(np.square((a - b) / np.float32(127.5)))))
