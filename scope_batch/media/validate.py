"""Probes the inputs of a plan, and checks their values before a model is loaded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.plan import ClipFacts, Plan
from scope_batch.core.timeline import ClipSource, ClipSourceFacts, Placement
from scope_batch.core.timing import picked_frames
from scope_batch.errors import JobError
from scope_batch.media.frame_reader import FrameReader
from scope_batch.media.images import read_still, still_facts
from scope_batch.media.open import open_material, open_source, picked
from scope_batch.media.planes import FloatArrayReader

TOLERANCE = 1e-3
"""Largest excess over the range, which rounding and resampling may cause."""

_RANGES = {"control": (-1.0, 1.0), "masks": (0.0, 1.0)}


Places = Mapping[Path, str]
"""Still image -> the field that names it, "job.yaml:3:1: first_frame_image", for messages."""
NO_PLACES: Places = {}


@contextmanager
def _errors_at(places: Places, path: Path) -> Iterator[None]:
    try:
        yield
    except JobError as error:
        if path not in places:
            raise
        raise JobError(*(f"{places[path]}: {line}" for line in error.problems)) from error


def probe_material(source: ClipSource) -> ClipSourceFacts:
    """Return length, size and times of a source; checks everything but its values.

    Raises MissingInputError, or JobError (beginning with the file's name) if it has an unknown type, is
    damaged, has a wrong dtype or shape, or is a part outside its blob.
    """
    with open_material(source) as opened:
        frames = len(picked(opened, source))
        return ClipSourceFacts(
            frames,
            opened.height,
            opened.width,
            exact=isinstance(opened, FloatArrayReader),
            still=frames == 1 and not opened.timing.stated and source.part is None,
            timing=opened.timing if opened.timing.stated else None,
            unread=opened.unread if isinstance(opened, FloatArrayReader) else (),
            notes=opened.notes,
            warnings=opened.warnings,
        )


def check_material(plan: Plan, places: Places = NO_PLACES) -> None:
    """Read and check all used frames of float arrays, one at a time, and all still images.

    Raises JobError, with field, chunk and delivered frame, for arrays of a wrong size, NaN or Inf, frames outside -1..1
    or masks outside 0..1, and for an unreadable image; MissingInputError for a missing one.
    """
    checked: dict[ClipSource, int] = {}
    for placement in filter(_may_be_floats, plan.placements):
        with FrameReader(placement, plan.height, plan.width) as reader:
            if reader.planes is not None:
                used = range(checked.get(placement.source, 0), _shown(plan, placement, reader))
                _check_values(plan, placement, reader, reader.planes, used)
                checked[placement.source] = max(used.start, used.stop)
    for path in dict.fromkeys(_stills(plan)):
        with _errors_at(places, path):
            read_still(path, (plan.height, plan.width))


def still_notes(plan: Plan, places: Places = NO_PLACES) -> tuple[list[str], list[str]]:
    """Return (notes, warnings) about the plan's still images, each with its name. Raises as `check_material`."""
    notes, warnings = [], []
    for path in dict.fromkeys(_stills(plan)):
        with _errors_at(places, path):
            facts = still_facts(path)
        notes += [f"{path.name}: {note}" for note in facts.notes]
        warnings += [f"{path.name}: {warning}" for warning in facts.warnings]
    return notes, warnings


def _may_be_floats(placement: Placement) -> bool:
    source = placement.source
    of_arrays = source.part is not None or source.path.suffix.lower() in (".npy", ".safetensors")
    return source.kind != "video" and of_arrays


def _shown(plan: Plan, placement: Placement, reader: FrameReader) -> int:
    """Return how many frames of its source, from the first on, a placement uses."""
    return min(min(placement.end_frame, plan.num_frames) - placement.first_frame, reader.frames)


def _check_values(plan: Plan, placement: Placement, reader: FrameReader, planes: FloatArrayReader, used: range) -> None:
    for index in used:
        fault = _fault(planes.planes(reader.pick(index)), *_RANGES[placement.source.kind])
        if fault is not None:
            frame = placement.first_frame + index
            chunk = bisect_right(plan.chunks, frame, key=lambda chunk: chunk.first_frame) - 1
            frame_name = f"{planes.name}: frame {index} (delivered frame {frame}, chunk {chunk})"
            raise JobError(f"{placement.where}: {frame_name} {fault}")


def _fault(planes: NDArray[np.float32], low: float, high: float) -> str | None:
    least, most = float(planes.min()), float(planes.max())  # both are NaN if any value is
    if not (np.isfinite(least) and np.isfinite(most)):
        return "holds NaN or infinite values"
    if least < low - TOLERANCE or most > high + TOLERANCE:
        worst = most if most > high + TOLERANCE else least
        kind = "masks are" if low == 0 else "control frames are"
        return f"has values that reach {worst:g}: {kind} in {low:g}..{high:g}"
    return None


def _stills(plan: Plan) -> Iterator[Path]:
    for chunk in plan.chunks:
        if chunk.vace is not None:
            yield from (still.path for still in chunk.vace.stills)
            if chunk.vace.reference is not None:
                yield chunk.vace.reference


def probe_whole_clip(path: Path) -> ClipFacts:
    """Probe a whole clip at its own rate, or at the nominal rate if its rate varies."""
    with open_source(path) as source:
        varies = source.timing.fps is None
        nominal = source.timing.nominal_fps
    return probe_clip(path, nominal if varies else None)


def probe_clip(
    path: Path, input_fps: Fraction | None = None, start_s: float | None = None, end_s: float | None = None
) -> ClipFacts:
    """Probe the input at `path` after trimming and resampling. Arrays and image folders count as 16 fps.

    Raises MissingInputError if it does not exist, JobError if it cannot be read or its rate varies without `input_fps`.
    """
    with open_source(path) as source:
        picks = picked_frames(source.timing, name=source.name, fps=input_fps, start_s=start_s, end_s=end_s)
        fps = input_fps or source.timing.fps
        assert fps is not None, "picked_frames refuses a varying rate without input_fps"
        size = (source.width, source.height)
        return ClipFacts(*size, len(picks), fps, source.has_audio, source.timing, source.notes, source.warnings)
