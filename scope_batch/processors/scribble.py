"""Defines the processor `scribble`: the outlines of things as bold lines, drawn as if by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scope_batch.processors.filters import Floats, box_mean, gradient, luma
from scope_batch.processors.spec import EachFrame, Parameters, ProcessorSpec

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames

GROWTH = 16
"""Pixels that a faint line may go on from a clear one."""
TANGENT = np.float32(0.41421356)
"""Of 22.5 degrees: half of the angle between two of the four directions in which a line may run."""


class ScribbleParameters(Parameters):
    contrast: float = Field(
        default=3.0,
        gt=0,
        le=128,
        description="Brightness, in levels of 0..255 per pixel, by which an edge must rise to be drawn; half of it "
        "where the edge goes on from a drawn one.",
    )
    smoothing: int = Field(
        default=2, ge=0, le=16, description="Radius in pixels within which details are smoothed away."
    )
    thickness: int = Field(default=3, ge=1, le=15, description="Thickness of a line in pixels.")
    lines: Literal["white", "black"] = Field(
        default="white", description="Colour of the lines; the ground has the other one."
    )


def scribble(frames: Frames, parameters: ScribbleParameters) -> Frames:
    """Return lines along the edges of uint8 [T, H, W, 3]. Thresholds are fixed, so that lines do not flicker."""
    line, ground = (255, 0) if parameters.lines == "white" else (0, 255)
    output = np.empty_like(frames)
    for index, frame in enumerate(frames):
        level = luma(frame).astype(np.float32)[None]
        smooth = box_mean(box_mean(level, parameters.smoothing), parameters.smoothing)[0]
        drawn = _thick(_ridges(*gradient(smooth), np.float32(parameters.contrast)), parameters.thickness)
        output[index] = np.where(drawn, np.uint8(line), np.uint8(ground))[..., None]
    return output


def _ridges(across: Floats, down: Floats, contrast: np.float32) -> NDArray[np.bool_]:
    """Return the lines, one pixel wide, along which the gradient is steepest: bool [H, W]. As J. Canny, 1986."""
    steepness = np.sqrt(across * across + down * down)
    flat, steep = np.abs(across), np.abs(down)
    height, width = steepness.shape
    padded = np.pad(steepness, 1)

    def is_peak(rows: int, columns: int) -> NDArray[np.bool_]:
        later = padded[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]
        earlier = padded[1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]
        return (steepness > earlier) & (steepness >= later)

    peak = np.where(
        steep <= TANGENT * flat,
        is_peak(0, 1),
        np.where(
            flat <= TANGENT * steep,
            is_peak(1, 0),
            np.where((across > 0) == (down > 0), is_peak(1, 1), is_peak(1, -1)),
        ),
    )
    faint = peak & (steepness >= contrast / 2)
    lines = peak & (steepness >= contrast)
    for _ in range(GROWTH):
        lines = _thick(lines, 3) & faint
    return lines


def _thick(lines: NDArray[np.bool_], thickness: int) -> NDArray[np.bool_]:
    """Return the lines [H, W] with every pixel grown to a square of `thickness` pixels."""
    height, width = lines.shape
    before = (thickness - 1) // 2
    padded = np.pad(lines, (before, thickness - 1 - before))
    rows = padded[:height].copy()
    for offset in range(1, thickness):
        rows |= padded[offset : offset + height]
    grown = rows[:, :width].copy()
    for offset in range(1, thickness):
        grown |= rows[:, offset : offset + width]
    return grown


SCRIBBLE = ProcessorSpec(
    "scribble",
    "outlines as bold lines, white on black",
    lambda parameters: EachFrame(partial(scribble, parameters=parameters)),
    ScribbleParameters,
)
