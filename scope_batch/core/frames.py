"""Defines the arrays passed between media, engine and sinks: pixel frames and the inputs of one chunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
"""uint8 [T, H, W, 3], RGB."""
GENERATE_ABOVE = 0.5
"""A pixel is generated if its mask, 0..1, is above this; otherwise it is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class ControlFrames:
    """The frames from which a chunk's VACE context is encoded, composed of all its sources.

    frames  float32 [lead + chunk.frames, H, W, 3] in -1..1, RGB; 0 (gray) without a source.
    masks   float32 [lead + chunk.frames, H, W] in 0..1; 1 = generate, 0 = keep the frame.
    inactive_is_gray, reactive_is_gray  all pixels with mask <= 0.5, with mask > 0.5, are 0.
    `lead` = chunk.lead: number of frames (0 or 1) before the chunk.
    """

    frames: NDArray[np.float32]
    masks: NDArray[np.float32]
    inactive_is_gray: bool
    reactive_is_gray: bool


@dataclass(frozen=True, slots=True, eq=False)
class ChunkInputs:
    """The inputs of a chunk besides the plan; None = not needed.

    pixels     the input video's `chunk.frames` frames in video mode, uint8 [T, H, W, 3].
    control    for chunk.vace.has_frames.
    reference  for chunk.vace.reference: float32 [H, W, 3] in -1..1.
    """

    pixels: Frames | None = None
    control: ControlFrames | None = None
    reference: NDArray[np.float32] | None = None


NO_INPUTS = ChunkInputs()
