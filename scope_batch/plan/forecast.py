"""How large the outputs of a plan will be."""

from __future__ import annotations

from dataclasses import dataclass

from scope_batch.chunk import Plan

NPY_HEADER_BYTES = 128
MP4_BITS_PER_PIXEL = 0.25
"""Of generated video at the default quality (libx264, crf 14): an order of magnitude, no promise."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes. `raw` (NPY) is exact, `mp4` a guess that half or twice is no surprise to."""

    raw: int
    mp4: int


def forecast(plan: Plan) -> Forecast:
    pixels = plan.num_frames * plan.height * plan.width
    return Forecast(raw=NPY_HEADER_BYTES + 3 * pixels, mp4=round(pixels * MP4_BITS_PER_PIXEL / 8))
