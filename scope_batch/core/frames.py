"""Arrays that travel between the media, the engine and the sinks: pixel frames and the inputs of one chunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
"""uint8 [T, H, W, 3], RGB."""
GENERATE_ABOVE = 0.5
"""A pixel is generated where its mask, 0..1, is above this, else kept."""


@dataclass(frozen=True, slots=True, eq=False)
class ControlFrames:
    """The frames that a chunk's VACE context is encoded from, all sources laid over each other.

    frames  float32 [lead + chunk.frames, H, W, 3] in -1..1, RGB; 0 (gray) where nothing is given.
    masks   float32 [lead + chunk.frames, H, W] in 0..1; 1 = generate, 0 = keep the frame.
    inactive_is_gray, reactive_is_gray  no frame has a pixel other than 0 where the mask is <= 0.5, > 0.5.
    `lead` = chunk.lead: the first row lies before the chunk.
    """

    frames: NDArray[np.float32]
    masks: NDArray[np.float32]
    inactive_is_gray: bool
    reactive_is_gray: bool


@dataclass(frozen=True, slots=True, eq=False)
class ChunkInputs:
    """What a chunk is made from, besides the plan.

    pixels     the input video's `chunk.frames` frames in video mode, uint8 [T, H, W, 3].
    control    where chunk.vace.has_frames.
    reference  where chunk.vace.reference: float32 [H, W, 3] in -1..1.
    """

    pixels: Frames | None = None
    control: ControlFrames | None = None
    reference: NDArray[np.float32] | None = None


NO_INPUTS = ChunkInputs()
