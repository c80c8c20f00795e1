"""Converts an export to a job file, with notes about what was left out or assumed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from scope_batch.errors import JobError
from scope_batch.importing.blocks import Change, visible_changes
from scope_batch.importing.formats import read_export
from scope_batch.importing.job_fields import Fields, Line
from scope_batch.importing.job_text import job_text, number, rate
from scope_batch.importing.notes import ImportNotes
from scope_batch.importing.reading import Export, Lora, Prompts
from scope_batch.job import load_text
from scope_batch.job.scalars import MAX_FRAMES
from scope_batch.plan.entries import frame_at

SCHEMA_LINE = "yaml-language-server: $schema=./scope-batch.schema.json"


@dataclass(frozen=True, slots=True)
class Imported:
    """text: a job file that loads. notes: one line for each value that was left out, assumed or not found."""

    text: str
    notes: tuple[str, ...]


def import_export(data: bytes, *, name: str, fps: Fraction, folder: Path) -> Imported:
    """Convert a timeline export or a workflow. Relative paths of LoRAs start at `folder`, that of the job file.

    fps  frames per second of the job, to convert the timeline's seconds to frames.
    Raises JobError with one line: not an export, an unknown version, or no prompt that can be shown.
    """
    notes = ImportNotes()
    export = read_export(data, name, notes)
    num_frames, changes = _timeline(export, fps, name, notes)
    fields = Fields(export, notes)
    lines = [
        Line("pipeline_id", fields.pipeline_id),
        Line("prompt", _prompt_value(changes[0].block.prompts if changes else export.prompts)),
        *num_frames,
        *fields.size(),
        Line("fps", rate(fps)),
        *fields.seed(),
        *fields.plain(),
        *fields.video(),
        *fields.loras(),
    ]
    fields.note_unused()
    _note_missing(export.loras, lines, folder, notes)
    head = (SCHEMA_LINE, f"{export.title}, from {Path(name).name}, at {rate(fps)} frames per second.", *notes.lines)
    text = job_text(head, lines, [*_entries(changes[1:], fps)])
    _check(text, name, folder)
    return Imported(text, tuple(notes.lines))


def _no_prompt_error(name: str, requirement: str, notes: ImportNotes) -> JobError:
    reasons = f" ({'; '.join(notes.lines)})" if notes.lines else ""
    return JobError(f"{name}: no block of the timeline can be shown; {requirement}{reasons}")


def _timeline(export: Export, fps: Fraction, name: str, notes: ImportNotes) -> tuple[list[Line], list[Change]]:
    """Return the line with the number of frames, if the timeline has blocks, and the changes of its prompts."""
    if not export.blocks:
        if not export.prompts:
            raise _no_prompt_error(name, "an export needs at least one prompt", notes)
        notes.assumed("timeline (absent)", "the job's default length")
        return [], []
    end_s = max(block.end_s for block in export.blocks)
    if end_s * fps > MAX_FRAMES:
        raise JobError(f"{name}: the timeline ends at {end_s:g} s; a job has at most {MAX_FRAMES} frames")
    num_frames = max(math.floor(end_s * fps + Fraction(1, 2)), 1)
    changes = visible_changes(export.blocks, fps, num_frames, notes)
    if not changes:
        raise _no_prompt_error(name, "an export needs at least one that lasts a frame", notes)
    first = changes[0]
    if frame_at(first.time_s, fps) > 0:
        notes.assumed(first.block.place, f"it begins at {first.time_s:g} s; its prompt is used from frame 0 on")
    return [Line("num_frames", num_frames, f"{end_s:g} s")], changes


def _prompt_value(prompts: Prompts) -> Any:
    """Return the prompts for a job. A single prompt is a plain text, as its weight makes no difference."""
    if len(prompts) == 1:
        return prompts[0][0]
    return [{"text": text, "weight": number(weight)} for text, weight in prompts]


def _entries(changes: Sequence[Change], fps: Fraction) -> Iterator[Mapping[str, Any]]:
    for change in changes:
        block, prompts = change.block, _prompt_value(change.block.prompts)
        entry = {
            "remark": f"frame {frame_at(change.time_s, fps)}",
            "time": number(change.time_s),
            "text" if isinstance(prompts, str) else "prompts": prompts,
        }
        if block.transition_steps:
            entry["transition_num_steps"] = block.transition_steps
            if block.method is not None:
                entry["transition_method"] = block.method
        yield entry


def _note_missing(loras: Sequence[Lora], lines: Sequence[Line], folder: Path, notes: ImportNotes) -> None:
    """Note LoRA files that are not found: an export holds the paths of another machine, a workflow only file names."""
    used_paths = {path for line in lines if line.field == "lora_scales" for path in line.value}
    for lora in loras:
        if lora.path in used_paths and not (folder / Path(lora.path).expanduser()).is_file():
            notes.missing(lora.place, lora.path)


def _check(text: str, name: str, folder: Path) -> None:
    """Load the job once, to find faults that involve several fields before it is rendered."""
    try:
        load_text(text, name=name, folder=folder, environ={})
    except JobError as error:
        raise JobError(f"{name}: cannot be converted to a job: {error.problems[0]}") from error
