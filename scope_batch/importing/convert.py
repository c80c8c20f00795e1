"""From an export to a job file and what is to be said of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from scope_batch.errors import JobError
from scope_batch.importing.blocks import Change, changes
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
    """text: a job file that loads. told: one line for each thing that is not in it, or in it unasked."""

    text: str
    told: tuple[str, ...]


def import_export(data: bytes, *, name: str, fps: Fraction, folder: Path) -> Imported:
    """The job of a timeline export or a workflow; `folder`: where the job file will stand.

    fps: frames per second, of the timeline's seconds and of the job.
    Raises JobError, one line: no export, an unknown version, or nothing in it that could be shown.
    """
    told = ImportNotes()
    export = read_export(data, name, told)
    num_frames, shown = _timeline(export, fps, name, told)
    fields = Fields(export, told)
    lines = [
        Line("pipeline_id", fields.pipeline_id),
        Line("prompt", _opening(export, shown)),
        *num_frames,
        *fields.size(),
        Line("fps", rate(fps)),
        *fields.seed(),
        *fields.plain(),
        *fields.video(),
        *fields.loras(),
    ]
    fields.tell_left()
    _tell_missing(export.loras, lines, folder, told)
    text = job_text(_head(export, name, fps, told), lines, [*_entries(shown[1:], fps)])
    _check(text, name, folder)
    return Imported(text, tuple(told.lines))


def _nothing_to_show(name: str, needed: str, told: ImportNotes) -> JobError:
    why = f" ({'; '.join(told.lines)})" if told.lines else ""
    return JobError(f"{name}: no block of the timeline can be shown; {needed}{why}")


def _timeline(export: Export, fps: Fraction, name: str, told: ImportNotes) -> tuple[list[Line], list[Change]]:
    """The length, if the timeline has one, and what is shown when."""
    if not export.blocks:
        if not export.prompts:
            raise _nothing_to_show(name, "an export needs at least one prompt", told)
        told.assumed("timeline (absent)", "the job's default length")
        return [], []
    end_s = max(block.end_s for block in export.blocks)
    if end_s * fps > MAX_FRAMES:
        raise JobError(f"{name}: the timeline ends at {end_s:g} s; a job has at most {MAX_FRAMES} frames")
    num_frames = max(math.floor(end_s * fps + Fraction(1, 2)), 1)
    shown = changes(export.blocks, fps, num_frames, told)
    if not shown:
        raise _nothing_to_show(name, "an export needs at least one that lasts a frame", told)
    if frame_at(shown[0].time_s, fps) > 0:
        told.assumed(shown[0].block.place, f"begins at {shown[0].time_s:g} s, its prompt is in force from frame 0 on")
    return [Line("num_frames", num_frames, f"{end_s:g} s")], shown


def _opening(export: Export, shown: Sequence[Change]) -> Any:
    return _written(shown[0].block.prompts if shown else export.prompts)


def _written(prompts: Prompts) -> Any:
    """One prompt is a text: a lone weight is the whole."""
    if len(prompts) == 1:
        return prompts[0][0]
    return [{"text": text, "weight": number(weight)} for text, weight in prompts]


def _entries(shown: Sequence[Change], fps: Fraction) -> Iterator[Mapping[str, Any]]:
    for change in shown:
        block, prompts = change.block, _written(change.block.prompts)
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


def _head(export: Export, name: str, fps: Fraction, told: ImportNotes) -> Iterator[str]:
    yield SCHEMA_LINE
    yield f"{export.title}, from {Path(name).name}, at {rate(fps)} frames per second."
    yield from told.lines


def _tell_missing(loras: Sequence[Lora], lines: Sequence[Line], folder: Path, told: ImportNotes) -> None:
    """Paths are those of the exporting machine; a workflow holds names alone."""
    carried = {path for line in lines if line.field == "lora_scales" for path in line.value}
    for lora in loras:
        if lora.path in carried and not (folder / Path(lora.path).expanduser()).is_file():
            told.missing(lora.place, lora.path)


def _check(text: str, name: str, folder: Path) -> None:
    """What was written is read once, or something that no single field shows would come out only when rendering."""
    try:
        load_text(text, name=name, folder=folder, environ={})
    except JobError as error:
        raise JobError(f"{name}: cannot be turned into a job: {error.problems[0]}") from error
