"""Images that steer a chunk: decoded once, cut to the size of the render."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scope_batch.media.fit import fit_frame
from scope_batch.media.images import read_still
from scope_batch.media.reel import to_unit

KEPT = 4
"""A first, a last and a reference image, and one to spare."""


class Stills:
    """The last few images that were asked for."""

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._image = lru_cache(KEPT)(self._read)

    def __call__(self, path: Path) -> NDArray[np.float32]:
        """float32 [H, W, 3] in -1..1, filling the picture, read-only by agreement.

        Raises MissingInputError, or JobError if it is damaged or no still image.
        """
        return self._image(path)

    def _read(self, path: Path) -> NDArray[np.float32]:
        size = self._height, self._width
        return to_unit(fit_frame(read_still(path, size), *size, "crop"))
