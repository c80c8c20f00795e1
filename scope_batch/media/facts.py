"""What a planner must know about an input clip. Nothing here imports more than the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """An input after `input_start`, `input_end` and `input_fps`.

    width, height  pixels of a frame as it is seen: rotated, with square pixels.
    frames         frames it delivers before it is looped or held.
    fps            frames per second of those: `input_fps`, else the clip's own rate.
    has_audio      the file has a sound track.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    has_audio: bool
