"""Lists the control frames, masks and input videos that a job names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from scope_batch.core.timeline import TENSOR_NAMES, BlobPart, ClipSource, ClipSourceFacts, Kind
from scope_batch.plan.diagnostics import Diagnostics, place

if TYPE_CHECKING:
    from pathlib import Path

    from scope_batch.job import ChunkSpec, Job

Facts = Mapping[ClipSource, ClipSourceFacts]
KINDS: dict[str, Kind] = {"input_video": "video", "vace_frames": "control", "vace_masks": "masks"}
"""Fields of an entry that name a source -> the kind of that source."""
CONTROL: tuple[Kind, ...] = ("control", "masks")
"""Kinds that steer through VACE."""
PART_FIELDS = frozenset(f"{field}_{part}" for field in KINDS for part in ("offset", "shape"))


@dataclass(frozen=True, slots=True, eq=False)
class ClipField:
    """A field of the job with the source that it names.

    where   place and name of the field, for messages.
    locked  the source is placed on the timeline of the whole job, not inside one chunk.
    of_job  the field is one of the whole job; False: of an entry.
    """

    source: ClipSource
    where: str
    locked: bool = True
    of_job: bool = False

    @property
    def label(self) -> str:
        """ "job.yaml:3:5: vace_frames: depth.npy"."""
        return f"{self.where}: {self.source.path.name}"


def input_source(job: Job) -> ClipSource | None:
    """Return the source of the input video; its kind is "control" if it goes through VACE."""
    if job.input_path is None:
        return None
    rate = None if job.input_fps == "native" else Fraction(job.input_fps)
    kind: Kind = "control" if job.input_steers else "video"
    return ClipSource(kind, job.input_path, None, rate, job.input_start, job.input_end)


def job_clip_fields(job: Job) -> Iterator[ClipField]:
    """Yield control and masks of the whole job."""
    for field, path in (("vace_frames", job.vace_frames), ("vace_masks", job.vace_masks)):
        if path is not None:
            yield ClipField(ClipSource(KINDS[field], path), place(job, field), of_job=True)


def entry_clip_fields(job: Job, order: int) -> dict[str, ClipField]:
    """Return field -> clip field of entry `order` of `chunk_specs`."""
    spec = job.chunk_specs[order]
    sources = ((field, _named(job.data_blob_path, spec, field, kind)) for field, kind in KINDS.items())
    return {
        field: ClipField(source, _where(job, order, field, source), spec.vace_temporally_locked)
        for field, source in sources
        if source is not None
    }


def all_clip_fields(job: Job) -> Iterator[ClipField]:
    """Yield every clip field whose facts the planner needs; the input video is not among them."""
    yield from job_clip_fields(job)
    for order in range(len(job.chunk_specs)):
        yield from entry_clip_fields(job, order).values()


def check_sizes(job: Job, height: int, width: int, facts: Facts, diagnostics: Diagnostics) -> None:
    """Report arrays of another size than the frames."""
    for clip_field in all_clip_fields(job):
        fact = facts[clip_field.source]
        if fact.exact and (fact.height, fact.width) != (height, width):
            diagnostics.problems.append(
                f"{clip_field.label} is {fact.width}x{fact.height}, the job {width}x{height}; arrays are never resized"
            )


def report_facts(job: Job, facts: Facts, diagnostics: Diagnostics) -> None:
    """Add notes and warnings about the files, once for each file, under the first field that names it."""
    first = {clip_field.source: clip_field for clip_field in reversed(list(all_clip_fields(job)))}
    named = {(clip_field.source.path, TENSOR_NAMES.get(clip_field.source.kind)) for clip_field in first.values()}
    for clip_field in first.values():
        unread = [name for name in facts[clip_field.source].unread if (clip_field.source.path, name) not in named]
        if unread:
            hint = " (vace_masks and vace_frames may name one file)" if {*unread} & {*TENSOR_NAMES.values()} else ""
            verb = "is" if len(unread) == 1 else "are"
            diagnostics.notes.append(f"{clip_field.label}: holds {', '.join(unread)} too, which {verb} not read{hint}")
        diagnostics.notes += [f"{clip_field.label}: {note}" for note in facts[clip_field.source].notes]
        diagnostics.warnings += [f"{clip_field.label}: {warning}" for warning in facts[clip_field.source].warnings]


def _named(blob: Path | None, spec: ChunkSpec, field: str, kind: Kind) -> ClipSource | None:
    path: Path | None = getattr(spec, field)
    if path is not None:
        return ClipSource(kind, path)
    offset: int | None = getattr(spec, f"{field}_offset")
    shape: tuple[int, ...] | None = getattr(spec, f"{field}_shape")
    if offset is None or shape is None:
        return None
    assert blob is not None, "the job model lets no offset through without its blob"
    return ClipSource(kind, blob, BlobPart(offset, shape))


def _where(job: Job, order: int, field: str, source: ClipSource) -> str:
    return place(job, "chunk_specs", order, field if source.part is None else f"{field}_offset")
