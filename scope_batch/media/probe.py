"""The facts of an input that a plan needs, without decoding more than its first frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from scope_batch.core.plan import ClipFacts
from scope_batch.core.timing import picked_frames
from scope_batch.media.source import open_source


def probe_whole_clip(path: Path) -> ClipFacts:
    """Facts of a clip that is read from end to end: at its own rate, or at the nominal one of a rate that varies."""
    with open_source(path) as source:
        varies = source.timing.fps is None
        nominal = source.timing.nominal_fps
    return probe_clip(path, nominal if varies else None)


def probe_clip(
    path: Path, input_fps: Fraction | None = None, start_s: float | None = None, end_s: float | None = None
) -> ClipFacts:
    """Facts of the input at `path` after trimming and resampling. Arrays and image folders count as 16 fps.

    Raises MissingInputError if there is none, JobError if it cannot be read or its rate varies without `input_fps`.
    """
    with open_source(path) as source:
        picks = picked_frames(source.timing, name=source.name, fps=input_fps, start_s=start_s, end_s=end_s)
        fps = input_fps or source.timing.fps
        assert fps is not None, "picked_frames refuses a varying rate without input_fps"
        told = source.timing, source.notes, source.warnings
        return ClipFacts(source.width, source.height, len(picks), fps, source.has_audio, *told)
