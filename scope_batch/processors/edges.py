"""White edges on black: the magnitude of the Sobel gradient of the brightness."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scope_batch.processors.gray import luma
from scope_batch.processors.spec import EachFrame, Parameters, ProcessorSpec

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames

STEP_RESPONSE = 4
"""Of a Sobel operator: what a step of one level between two rows or columns gives."""


class EdgeParameters(Parameters):
    strength: float = Field(
        default=2.0, gt=0, le=16, description="Brightness of an edge, as a multiple of the step in brightness there."
    )


def edges(frames: Frames, strength: float) -> Frames:
    """A step of s levels shows as min(strength * s, 255): by a fixed measure, so that nothing flickers with the rest
    of its frame. At the border the picture goes on as its last row or column."""
    scale = np.float32(strength / STEP_RESPONSE)
    made = np.empty_like(frames)
    for index, frame in enumerate(frames):
        level = np.pad(luma(frame).astype(np.int16), 1, mode="edge")
        down = level[:-2] + level[2:] + 2 * level[1:-1]
        across = level[:, :-2] + level[:, 2:] + 2 * level[:, 1:-1]
        squares = np.square(down[:, 2:] - down[:, :-2], dtype=np.int32)
        squares += np.square(across[2:] - across[:-2], dtype=np.int32)
        magnitude = np.sqrt(squares.astype(np.float32))
        magnitude *= scale
        made[index] = np.rint(np.minimum(magnitude, np.float32(255))).astype(np.uint8)[..., None]
    return made


EDGES = ProcessorSpec(
    "edges",
    "white edges on black (Sobel)",
    lambda parameters: EachFrame(partial(edges, strength=parameters.strength)),
    EdgeParameters,
)
