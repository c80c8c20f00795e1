"""Defines the built-in processors: passthrough, gray and edges."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scope_batch.processors.filters import luma
from scope_batch.processors.spec import EachFrame, Parameters, ProcessorSpec

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames

PASSTHROUGH = ProcessorSpec("passthrough", "leaves every frame as it is", lambda _: EachFrame(lambda frames: frames))


def gray(frames: Frames) -> Frames:
    """Return uint8 [T, H, W, 3] with the luma in all channels."""
    output = np.empty_like(frames)
    for index, frame in enumerate(frames):  # one frame at a time fits the CPU's cache
        output[index] = luma(frame)[..., None]
    return output


GRAY = ProcessorSpec("gray", "brightness in all three channels (BT.601)", lambda _: EachFrame(gray))


STEP_RESPONSE = 4
"""The Sobel operator's response to a step of one level between two rows or columns."""


class EdgeParameters(Parameters):
    strength: float = Field(
        default=2.0, gt=0, le=16, description="Brightness of an edge, as a multiple of the step in brightness there."
    )


def edges(frames: Frames, strength: float) -> Frames:
    """Return the Sobel edges of uint8 [T, H, W, 3]: a step of s levels becomes min(strength * s, 255).

    The scale is fixed, not relative to the frame, so that edges do not flicker. Borders are padded by repetition.
    """
    scale = np.float32(strength / STEP_RESPONSE)
    output = np.empty_like(frames)
    for index, frame in enumerate(frames):
        level = np.pad(luma(frame).astype(np.int16), 1, mode="edge")
        down = level[:-2] + level[2:] + 2 * level[1:-1]
        across = level[:, :-2] + level[:, 2:] + 2 * level[:, 1:-1]
        squares = np.square(down[:, 2:] - down[:, :-2], dtype=np.int32)
        squares += np.square(across[2:] - across[:-2], dtype=np.int32)
        magnitude = np.sqrt(squares.astype(np.float32))
        magnitude *= scale
        output[index] = np.rint(np.minimum(magnitude, np.float32(255))).astype(np.uint8)[..., None]
    return output


EDGES = ProcessorSpec(
    "edges",
    "white edges on black (Sobel)",
    lambda parameters: EachFrame(partial(edges, strength=parameters.strength)),
    EdgeParameters,
)
