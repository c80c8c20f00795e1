"""Selects the frames of control videos and masks by the same rules as those of the input video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from scope_batch.core.plan import ClipFacts
from scope_batch.core.timeline import ClipSource, ClipSourceFacts
from scope_batch.core.timing import Timing, picked_frames, within
from scope_batch.errors import JobError
from scope_batch.plan.diagnostics import Diagnostics, counted
from scope_batch.plan.material_fields import (
    CONTROL,
    ClipField,
    Facts,
    entry_clip_fields,
    input_source,
    job_clip_fields,
)
from scope_batch.plan.settings import Settings
from scope_batch.plan.view.text import rate

if TYPE_CHECKING:
    from scope_batch.job import Job

SPARE_FRAMES = 1
"""Control that differs from a clip by at most so many frames counts as made from it: tools often lose the last one."""
TOLERANCE_FRAMES = Fraction(1, 2)
"""Control is in step with the picture if they differ by at most this many frames of the output."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A source as it is read, and the number of its frames that are used.

    still    a single picture, which is repeated as often as needed.
    follows  the same frames are selected as of the input.
    fps      frames per second at which it is read; None if it follows the input, or states no rate.
    """

    source: ClipSource
    frames: int
    still: bool = False
    follows: bool = False
    fps: Fraction | None = None


class ControlTiming:
    """Selects the frames of each control file, and warns if one runs faster or slower than the picture."""

    def __init__(
        self, job: Job, settings: Settings, clip: ClipFacts | None, facts: Facts, diagnostics: Diagnostics
    ) -> None:
        self._job, self._settings, self._clip, self._facts, self._diagnostics = job, settings, clip, facts, diagnostics
        self._whole_clip = None if clip is None else clip.timing or Timing.even(clip.frames, clip.fps)
        self._selections: dict[tuple[ClipSource, bool], Selection] = {}
        for clip_field in job_clip_fields(job):
            self._check_speed([clip_field])
            self._check_start(clip_field)
        entries = [[*entry_clip_fields(job, order).values()] for order in range(len(job.chunk_specs))]
        for clip_fields in entries:
            self._check_lengths(clip_fields)
        self._check_speed([clip_field for clip_fields in entries for clip_field in clip_fields])

    def selected(self, clip_field: ClipField) -> Selection:
        """Select the frames of a source: by time for control, all of others."""
        key = clip_field.source, clip_field.of_job
        if key not in self._selections:
            self._selections[key] = self._select(clip_field, self._facts[clip_field.source])
        return self._selections[key]

    def rates(self, clip_field: ClipField) -> str | None:
        """Return "it has 24 fps, the job 16"; None for control in step with the picture."""
        selected, timing = self.selected(clip_field), self._facts[clip_field.source].timing
        if selected.fps is None or self._apart_s(selected) * self._settings.fps <= TOLERANCE_FRAMES:
            return None
        varies = selected.source.fps is None and timing is not None and timing.fps is None
        has = "is read at" if selected.source.fps else "has a rate that varies, on average" if varies else "has"
        return f"it {has} {rate(selected.fps)} fps, {self._picture} {rate(self._picture_fps)}"

    def remedy(self) -> str:
        return f"vace_fps: {self._picture_fps} picks its frames by time"

    @property
    def _picture(self) -> str:
        return "the job" if self._clip is None else "the input"

    @property
    def _picture_fps(self) -> Fraction:
        """The rate at which the input is read, at whatever rate the job plays it: control belongs to the input."""
        return self._settings.fps if self._clip is None else self._clip.fps

    def _apart_s(self, selected: Selection) -> Fraction:
        """Return the seconds between picture and control at the last frame that both have."""
        frames = min(selected.frames, self._settings.num_frames)
        return Fraction(0) if selected.fps is None else abs(frames / selected.fps - frames / self._picture_fps)

    def _select(self, clip_field: ClipField, fact: ClipSourceFacts) -> Selection:
        source = clip_field.source
        if source.kind not in CONTROL or source.part is not None or fact.still:
            return Selection(source, fact.frames, still=fact.still)
        own_fps = None if fact.timing is None else fact.timing.mean_fps
        made_from_clip = self._made_from_clip(fact)
        if made_from_clip and self._job.vace_fps in (None, "input") and (selected := self._following(clip_field, fact)):
            return selected
        if self._job.vace_fps == "input" and clip_field.of_job:
            assert self._whole_clip is not None, "the job model lets `input` through only beside an input_path"
            has, clip = counted(fact.frames, "frame"), self._whole_clip.frames
            self._diagnostics.problems.append(
                f"{clip_field.label} has {has}, the input's file {clip}: vace_fps: input takes frames that have the "
                "same number; allowed: native or frames per second"
            )
        fps = self._job.vace_fps if isinstance(self._job.vace_fps, Fraction) else None
        start_s, end_s = self._range(made_from_clip=made_from_clip) if clip_field.of_job else (None, None)
        picking = replace(source, fps=fps, start_s=start_s, end_s=end_s)
        if not picking.picks:
            return Selection(source, fact.frames, fps=own_fps)
        timing, name = fact.timing or Timing.even(fact.frames), source.path.name
        try:
            picks = picked_frames(timing, name=name, fps=fps, start_s=start_s, end_s=end_s, fields="vace")
        except JobError as error:
            self._diagnostics.problems += [f"{clip_field.where}: {line}" for line in error.problems]
            return Selection(source, fact.frames)
        return Selection(picking, len(picks), fps=fps or own_fps)

    def _made_from_clip(self, fact: ClipSourceFacts) -> bool:
        clip = self._whole_clip
        return clip is not None and abs(fact.frames - clip.frames) <= SPARE_FRAMES

    def _following(self, clip_field: ClipField, fact: ClipSourceFacts) -> Selection | None:
        """Select the same frames as of the input, if possible. Those of an entry must be as many as the job's."""
        clip, source = self._whole_clip, input_source(self._job)
        assert clip is not None and source is not None
        start_s, end_s = (
            self._range(made_from_clip=True) if clip_field.of_job else (source.start_s or None, source.end_s)
        )
        picking = replace(clip_field.source, fps=source.fps, start_s=start_s, end_s=end_s, timed_by=source.path)
        if not picking.picks:
            return Selection(clip_field.source, fact.frames, follows=True) if clip_field.of_job else None
        try:
            picks = picked_frames(
                clip, name=clip_field.source.path.name, fps=source.fps, start_s=start_s, end_s=end_s, fields="vace"
            )
        except JobError as error:
            self._diagnostics.problems += [f"{clip_field.where}: {line}" for line in error.problems]
            return Selection(clip_field.source, fact.frames, follows=True)
        count = len(within(picks, fact.frames))
        possible = count > 0 and (clip_field.of_job or count == self._settings.num_frames)
        return Selection(picking, count, follows=True) if possible else None

    def _range(self, *, made_from_clip: bool) -> tuple[float | None, float | None]:
        job = self._job
        start_s = job.input_start if job.vace_start is None and made_from_clip else job.vace_start
        end_s = job.input_end if job.vace_end is None and made_from_clip else job.vace_end
        return start_s or None, end_s

    def _check_speed(self, clip_fields: Iterable[ClipField]) -> None:
        """Add one warning for all control clips with the same difference in speed."""
        groups: dict[str, list[ClipField]] = {}
        for clip_field in clip_fields:
            if message := self._speed(clip_field):
                groups.setdefault(message, []).append(clip_field)
        for message, group in groups.items():
            more = f" (and {counted(len(group) - 1, 'more file')})" if len(group) > 1 else ""
            self._diagnostics.warnings.append(f"{group[0].label}{more}: {message}")

    def _speed(self, clip_field: ClipField) -> str | None:
        selected = self.selected(clip_field)
        if selected.follows:
            return self._rates_of_same_length(clip_field)
        rates = self.rates(clip_field)
        if rates is None or selected.fps is None:
            return None
        speed = selected.fps / self._picture_fps
        pace, where = (
            (f"{float(speed):.3g}x slow", "behind") if speed > 1 else (f"{float(1 / speed):.3g}x fast", "ahead")
        )
        frames = min(selected.frames, self._settings.num_frames)
        return (
            f"{rates}: frame for frame it runs {pace}, after {counted(frames, 'frame')} it is "
            f"{float(self._apart_s(selected)):.2f} s {where} ({self.remedy()})"
        )

    def _rates_of_same_length(self, clip_field: ClipField) -> str | None:
        own, clip = self._facts[clip_field.source].timing, self._whole_clip
        if own is None or clip is None or own.fps is None or clip.fps is None or self._job.vace_fps == "input":
            return None
        apart_s = abs(own.end_s - clip.end_s)
        if apart_s * self._settings.fps <= max(TOLERANCE_FRAMES, abs(own.frames - clip.frames) + TOLERANCE_FRAMES):
            return None
        return (
            f"it has as many frames as the input but {rate(own.fps)} fps, the input {rate(clip.fps)}, which is "
            f"{float(apart_s):.2f} s apart at the end; the same frames are selected as of the input, whatever its own "
            f"rate (vace_fps: input confirms this, {self.remedy()})"
        )

    def _check_start(self, clip_field: ClipField) -> None:
        """Warn if only part of the input is read, and control is neither as long as its file nor as that part."""
        job, clip, selected, source = self._job, self._clip, self.selected(clip_field), input_source(self._job)
        if clip is None or self._whole_clip is None or source is None or not source.picks or selected.still:
            return
        if selected.follows and selected.source.picks:
            self._diagnostics.notes.append(
                f"{clip_field.label} has as many frames as the input: the same ones are selected"
            )
        if selected.follows or (job.vace_fps, job.vace_start, job.vace_end) != (None, None, None):
            return
        if any(abs(selected.frames - length) <= SPARE_FRAMES for length in (clip.frames, self._settings.num_frames)):
            return
        self._diagnostics.warnings.append(
            f"{clip_field.label} has {counted(selected.frames, 'frame')}, the input {self._whole_clip.frames} in its "
            f"file, of which {clip.frames} are read from {job.input_start:g} s on: it is unknown which belong "
            f"together, so frame i steers frame i of the output, {job.input_start:.2f} s apart if both files begin "
            "together (vace_fps, vace_start and vace_end select frames)"
        )

    def _check_lengths(self, clip_fields: Iterable[ClipField]) -> None:
        """Report an entry with different numbers of control frames and masks."""
        control = {
            clip_field.source.kind: clip_field for clip_field in clip_fields if clip_field.source.kind in CONTROL
        }
        selected = {kind: self.selected(clip_field) for kind, clip_field in control.items()}
        if len(control) < len(CONTROL) or any(selection.still for selection in selected.values()):
            return
        frames, masks = selected["control"].frames, selected["masks"].frames
        if masks != frames:
            self._diagnostics.problems.append(
                f"{control['masks'].label} has {masks} masks for {frames} frames of vace_frames"
            )
