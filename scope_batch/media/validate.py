"""Collects the facts of inputs that a plan needs, and finds faults in their values, before any model is loaded."""

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
"""How far values may lie outside their range: what rounding and resampling leave."""

_RANGES = {"frames": (-1.0, 1.0), "masks": (0.0, 1.0)}


Places = Mapping[Path, str]
"""Where the job names a still image, "job.yaml:3:1: first_frame_image", for messages."""
NO_PLACES: Places = {}


@contextmanager
def _told_at(places: Places, path: Path) -> Iterator[None]:
    try:
        yield
    except JobError as error:
        if path not in places:
            raise
        raise JobError(*(f"{places[path]}: {line}" for line in error.problems)) from error


def probe_material(material: ClipSource) -> ClipSourceFacts:
    """Length, size and times of `material`; what can be seen without reading its values is checked.

    Raises MissingInputError, or JobError (beginning with the file's name) if it is of an unknown kind, damaged, of
    another dtype or shape than its kind allows, or a part that does not lie inside its blob.
    """
    with open_material(material) as opened:
        frames = len(picked(opened, material))
        return ClipSourceFacts(
            frames,
            opened.height,
            opened.width,
            exact=isinstance(opened, FloatArrayReader),
            still=frames == 1 and not opened.timing.stated and material.part is None,
            timing=opened.timing if opened.timing.stated else None,
            unread=opened.unread if isinstance(opened, FloatArrayReader) else (),
            notes=opened.notes,
            warnings=opened.warnings,
        )


def check_material(plan: Plan, places: Places = NO_PLACES) -> None:
    """Read every float array that the plan shows, a frame at a time and each frame once, and every still image.

    Raises JobError: an array of another size than the render's, with NaN or Inf, frames outside -1..1 or masks outside
    0..1 (naming the field, the chunk and the delivered frame), an image that cannot be read. MissingInputError.
    """
    checked: dict[ClipSource, int] = {}
    for placement in filter(_may_be_floats, plan.placements):
        with FrameReader(placement, plan.height, plan.width) as reel:
            if reel.planes is not None:
                shown = range(checked.get(placement.source, 0), _shown(plan, placement, reel))
                _check_values(plan, placement, reel, reel.planes, shown)
                checked[placement.source] = max(shown.start, shown.stop)
    for path in dict.fromkeys(_stills(plan)):
        with _told_at(places, path):
            read_still(path, (plan.height, plan.width))


def found_in_stills(plan: Plan, places: Places = NO_PLACES) -> tuple[list[str], list[str]]:
    """(notes, warnings) on the plan's still images, each with its name. Raises as `check_material`."""
    notes, warnings = [], []
    for path in dict.fromkeys(_stills(plan)):
        with _told_at(places, path):
            facts = still_facts(path)
        notes += [f"{path.name}: {note}" for note in facts.notes]
        warnings += [f"{path.name}: {warning}" for warning in facts.warnings]
    return notes, warnings


def _may_be_floats(placement: Placement) -> bool:
    material = placement.source
    of_arrays = material.part is not None or material.path.suffix.lower() in (".npy", ".safetensors")
    return material.kind != "video" and of_arrays


def _shown(plan: Plan, placement: Placement, reel: FrameReader) -> int:
    """How many frames of its material a placement shows, from the first on."""
    return min(min(placement.end_frame, plan.num_frames) - placement.first_frame, reel.frames)


def _check_values(plan: Plan, placement: Placement, reel: FrameReader, planes: FloatArrayReader, shown: range) -> None:
    for index in shown:
        fault = _fault(planes.planes(reel.pick(index)), *_RANGES[placement.source.kind])
        if fault is not None:
            frame = placement.first_frame + index
            chunk = bisect_right(plan.chunks, frame, key=lambda chunk: chunk.first_frame) - 1
            what = f"{planes.name}: frame {index} (delivered frame {frame}, chunk {chunk})"
            raise JobError(f"{placement.where}: {what} {fault}")


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
