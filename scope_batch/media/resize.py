"""Resizes frames of any size to the size of the render."""

from __future__ import annotations

import numpy as np
from PIL import Image

from scope_batch.core.timeline import Fit
from scope_batch.media.source import Frame


def fit_frame(
    frame: Frame, height: int, width: int, fit: Fit, resample: Image.Resampling = Image.Resampling.LANCZOS
) -> Frame:
    """Resize uint8 [H, W, 3] or [H, W] to height x width; a frame of that size is returned unchanged.

    crop     fill the size, and crop the excess evenly on both sides.
    pad      show the whole frame, and pad with 0 (black; in a mask: keep).
    stretch  change the proportions.
    resample LANCZOS averages over the area of a pixel, which avoids aliasing; NEAREST is for masks.
    """
    own_height, own_width = frame.shape[:2]
    if (own_height, own_width) == (height, width):
        return frame
    image = Image.fromarray(frame)
    if fit == "crop":
        scale = max(height / own_height, width / own_width)
        left, top = (own_width - width / scale) / 2, (own_height - height / scale) / 2
        box = (max(0.0, left), max(0.0, top), min(own_width, own_width - left), min(own_height, own_height - top))
        return np.asarray(image.resize((width, height), resample, box))
    if fit == "stretch":
        return np.asarray(image.resize((width, height), resample))
    scale = min(height / own_height, width / own_width)
    inner_width, inner_height = max(1, round(own_width * scale)), max(1, round(own_height * scale))
    left_bar, top_bar = (width - inner_width) // 2, (height - inner_height) // 2
    padded = np.zeros((height, width, *frame.shape[2:]), np.uint8)
    inner = image.resize((inner_width, inner_height), resample)
    padded[top_bar : top_bar + inner_height, left_bar : left_bar + inner_width] = np.asarray(inner)
    return padded
