"""Places every clip, control video and mask on the timeline of delivered frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from scope_batch.core import geometry
from scope_batch.core.geometry import Mode
from scope_batch.core.plan import ChunkGrid, ClipFacts
from scope_batch.core.timeline import ClipSource, Coverage, Fill, Fit, Placement
from scope_batch.plan.chunk_overrides import ChunkOverrides
from scope_batch.plan.control_timing import ControlTiming
from scope_batch.plan.diagnostics import Diagnostics, counted, name_chunks, place
from scope_batch.plan.entries import ChunkStart, Entry
from scope_batch.plan.material_fields import (
    CONTROL,
    KINDS,
    ClipField,
    Facts,
    check_sizes,
    input_source,
    job_clip_fields,
    report_facts,
)
from scope_batch.plan.settings import Settings

if TYPE_CHECKING:
    from scope_batch.job import Job

INPUT_FILLS: dict[str, Fill] = {"error": "hold", "hold": "hold", "loop": "loop"}
AFTER_END = {
    "hold": "its last frame is held",
    "loop": "it starts over",
    "end": "nothing follows it",
}
CONTROL_FILLS: dict[str, Fill] = {"error": "none", "hold": "hold", "loop": "loop", "end": "none"}
"""`input_length` or `vace_length` -> frames after the last one of the source."""


class TimelineBuilder:
    """Places the sources of the whole job at once, and those of entries chunk by chunk.

    Some sources of entries have a first frame that is known at once: arrays as long as the job, and those of slots.
    """

    def __init__(
        self,
        job: Job,
        settings: Settings,
        entries: Sequence[Entry],
        clip: ClipFacts | None,
        facts: Facts,
        diagnostics: Diagnostics,
    ) -> None:
        self.opening = _opening_mode(settings, entries)
        self._settings, self._diagnostics, self._fit = settings, diagnostics, job.fit
        self.control_is_short = False
        self._fixed: set[ClipField] = set()
        self._placed: set[ClipField] = set()
        self._held: dict[str, list[int]] = {}
        self._stills: set[ClipSource] = set()
        self._of_job: list[Placement] = []
        self._of_entries: list[Placement] = []
        self._control = Coverage()
        check_sizes(job, settings.height, settings.width, facts, diagnostics)
        report_facts(job, facts, diagnostics)
        self._timing = ControlTiming(job, settings, clip, facts, diagnostics)
        self._place_job(job)
        self._place_fixed(entries)

    def mode(self, overrides: ChunkOverrides) -> Mode:
        """Return the mode of a chunk: video if the job or an entry of the chunk has an input video."""
        clip_field = overrides.clip_fields.get("input_video")
        if clip_field is not None and (clip_field in self._fixed or clip_field not in self._placed):
            return "video"
        return self._settings.mode

    def controlled(self, overrides: ChunkOverrides, start: ChunkStart) -> bool:
        """Return True if control frames or masks cover part of the chunk, selected as uncut."""
        in_entries = any(
            clip_field.source.kind in CONTROL and self._is_new(clip_field)
            for clip_field in overrides.clip_fields.values()
        )
        return self._control.covers(start.first_frame, min(start.end_if_uncut, self._settings.num_frames)) or in_entries

    def place_chunk(self, overrides: ChunkOverrides, index: int, first_frame: int, frames: int) -> None:
        """Place the sources of a chunk's entries at its first frame. `frames`: frames of the chunk."""
        for field, clip_field in overrides.clip_fields.items():
            if not self._is_new(clip_field):
                continue
            if clip_field.locked and clip_field.source.kind in CONTROL:
                self._place_clip_field(clip_field, first_frame, self._frames(clip_field), "none")
            else:
                self._place_inside(field, clip_field, index, first_frame, frames)

    def finish(self, chunks: Sequence[ChunkGrid]) -> tuple[Placement, ...]:
        """Return all placements: those of the whole job, then those of entries by first frame; later ones cover earlier
        ones. Reports held frames, overlaps, and chunks without input video."""
        for field, held in self._held.items():
            self._diagnostics.notes.append(
                f"{field} of {name_chunks(held)} is shorter than its chunk: its last frame is held"
            )
        for kind in KINDS.values():
            self._warn_overlaps([placement for placement in self._of_entries if placement.source.kind == kind])
        placements = (*self._of_job, *sorted(self._of_entries, key=lambda placement: placement.first_frame))
        self._check_video(chunks, placements)
        return placements

    def _is_new(self, clip_field: ClipField) -> bool:
        return clip_field not in self._fixed and clip_field not in self._placed

    def _frames(self, clip_field: ClipField) -> int:
        return self._timing.selected(clip_field).frames

    def _place_job(self, job: Job) -> None:
        source = input_source(job)
        if source is not None:
            whole = (0, self._settings.num_frames)
            placement = self._place(source, whole, INPUT_FILLS[job.input_length], place(job, "input_path"))
            self._of_job.append(replace(placement, processed=bool(job.pre_processor_id)))
        for clip_field in job_clip_fields(job):
            self._place_control(job, clip_field)

    def _place_control(self, job: Job, clip_field: ClipField) -> None:
        selected, needed = self._timing.selected(clip_field), self._settings.num_frames
        has, length = selected.frames, job.vace_length
        self.control_is_short |= has < needed and not (selected.still and length in ("hold", "loop"))
        if length == "error" and selected.still:
            length = "hold"
        if has < needed and length == "error":
            rates = self._timing.rates(clip_field)
            hint = f"; {rates}: {self._timing.remedy()}" if rates else ""
            self._diagnostics.problems.append(
                f"{clip_field.label} has {counted(has, 'frame')}, the job {needed} "
                f"(vace_length: hold, loop or end{hint})"
            )
        if has > needed:
            self._diagnostics.notes.append(f"{clip_field.label} has {has} frames, the first {needed} are used")
        if has < needed and length in AFTER_END and not selected.still:
            short = f"{clip_field.label} has {counted(has, 'frame')}, the job {needed}"
            self._diagnostics.notes.append(f"{short}: {AFTER_END[length]} (vace_length: {length})")
        end = has if length == "end" else needed
        self._of_job.append(
            self._place(selected.source, (0, min(end, needed)), CONTROL_FILLS[length], clip_field.where)
        )

    def _place_fixed(self, entries: Iterable[Entry]) -> None:
        entries = sorted(entries, key=lambda entry: (entry.chunk or 0, entry.order))
        for field in KINDS:
            by_chunks = self._follows_chunks(field, entries)
            for entry in entries:
                clip_field = entry.clip_fields.get(field)
                first = None if clip_field is None else self._known_first(entry, clip_field, by_chunks=by_chunks)
                if clip_field is not None and first is not None:
                    self._fixed.add(clip_field)
                    self._place_clip_field(clip_field, first, self._frames(clip_field), "none")
        self._note_whole(entries)

    def _note_whole(self, entries: Iterable[Entry]) -> None:
        """Note arrays as long as the job: they act from frame 0 on, before the place of their entry."""
        first: dict[ClipSource, tuple[Entry, ClipField]] = {}
        for entry in sorted(entries, key=lambda entry: entry.chunk or entry.frame or 0):
            for clip_field in entry.clip_fields.values():
                if clip_field in self._fixed and self._frames(clip_field) == self._settings.num_frames:
                    first.setdefault(clip_field.source, (entry, clip_field))
        for entry, clip_field in first.values():
            if entry.chunk or entry.frame:
                self._diagnostics.notes.append(
                    f"{clip_field.label} is as long as the job: it acts from frame 0 on, not from {entry.position}"
                )

    def _follows_chunks(self, field: str, entries: Iterable[Entry]) -> bool:
        """Return True if the arrays of slots have the lengths of chunks: that of slot 0 is as long as chunk 0."""
        opening = self._settings.spec.chunk_frames(self.opening, first=True)
        first = next(
            (entry.clip_fields[field] for entry in entries if entry.chunk == 0 and field in entry.clip_fields), None
        )
        return first is not None and first.locked and self._frames(first) == opening

    def _known_first(self, entry: Entry, clip_field: ClipField, *, by_chunks: bool) -> int | None:
        """Return the first frame of a source if it does not depend on the chunks; None: that of its chunk."""
        control = clip_field.source.kind in CONTROL
        if control and not clip_field.locked:
            return None
        if control and self._frames(clip_field) == self._settings.num_frames:
            return 0
        if not self._settings.grid.by_slots or entry.chunk is None or by_chunks:
            return None
        if not control and self._frames(clip_field) > geometry.PROTOCOL_SLOT_FRAMES:
            self._diagnostics.problems.append(
                f"{clip_field.label} has {self._frames(clip_field)} frames, a slot {geometry.PROTOCOL_SLOT_FRAMES}"
            )
        return entry.chunk * geometry.PROTOCOL_SLOT_FRAMES

    def _place_inside(self, field: str, clip_field: ClipField, index: int, first_frame: int, frames: int) -> None:
        has = self._frames(clip_field)
        if has > frames:
            hint = (
                " (vace_temporally_locked: true continues it in later chunks)"
                if clip_field.source.kind in CONTROL
                else ""
            )
            self._diagnostics.problems.append(
                f"{clip_field.label} has {has} frames, chunk {index} makes {frames}{hint}"
            )
        if has < min(frames, self._settings.num_frames - first_frame) and not self._timing.selected(clip_field).still:
            self._held.setdefault(field, []).append(index)
        elif has == frames and clip_field.source.kind in CONTROL:
            self._diagnostics.notes.append(
                f"{clip_field.label}: vace_temporally_locked: false has no effect, it has as many frames as its chunk"
            )
        self._place_clip_field(clip_field, first_frame, frames, "hold")

    def _place_clip_field(self, clip_field: ClipField, first: int, frames: int, fill: Fill) -> None:
        self._placed.add(clip_field)
        selected = self._timing.selected(clip_field)
        if selected.still and clip_field.locked and clip_field.source.kind in CONTROL:
            frames, fill = self._settings.num_frames - first, "hold"
            self._stills.add(selected.source)
        span = first, min(first + frames, self._settings.num_frames)
        if fill == "none" and first + frames > span[1]:
            used = (
                f"the first {span[1] - first} are used" if span[1] > first else "none is used: it begins after the end"
            )
            self._diagnostics.notes.append(f"{clip_field.label} has {frames} frames, {used}")
        if span[0] < span[1]:
            self._of_entries.append(self._place(selected.source, span, fill, clip_field.where))

    def _place(self, source: ClipSource, span: tuple[int, int], fill: Fill, where: str) -> Placement:
        fit: Fit = self._fit
        placement = Placement(source, *span, fill, fit, where)
        if source.kind in CONTROL:
            self._control.add(*span)
        return placement

    def _check_video(self, chunks: Sequence[ChunkGrid], placements: Sequence[Placement]) -> None:
        """Report video chunks without input video: the video of a slot may end before the chunk begins."""
        video = Coverage((each.first_frame, each.end_frame) for each in placements if each.source.kind == "video")
        missing = [
            chunk.index
            for chunk in chunks
            if chunk.mode == "video" and not video.covers(chunk.first_frame, chunk.last_frame + 1)
        ]
        if missing:
            self._diagnostics.problems.append(f"input_video: has no frames for {name_chunks(missing)}")

    def _warn_overlaps(self, placements: Sequence[Placement]) -> None:
        """Add one warning for sources of entries that overlap, unless they are the same array, or a still, which is
        shown until something else follows."""
        overlaps: list[tuple[Placement, Placement]] = []
        widest: Placement | None = None
        for placement in sorted(placements, key=lambda placement: placement.first_frame):
            if widest is not None and placement.first_frame < widest.end_frame and placement.source != widest.source:
                overlaps.append((widest, placement))
            if placement.source not in self._stills and (widest is None or placement.end_frame > widest.end_frame):
                widest = placement
        if overlaps:
            below, above = overlaps[0]
            more = f", and in {len(overlaps) - 1} more places" if len(overlaps) > 1 else ""
            until = min(below.end_frame, above.end_frame) - 1
            self._diagnostics.warnings.append(
                f"{above.where} and {below.where} overlap in frames {above.first_frame} to {until}"
                f"{more}: the later one is used"
            )


def _opening_mode(settings: Settings, entries: Iterable[Entry]) -> Mode:
    """Return the mode of chunk 0, which decides its length."""
    reach = settings.spec.chunk_frames(settings.mode, first=True)
    in_entries = any(
        "input_video" in entry.clip_fields
        for entry in entries
        if entry.chunk == 0 or (entry.frame is not None and entry.frame < reach)
    )
    return "video" if in_entries else settings.mode
