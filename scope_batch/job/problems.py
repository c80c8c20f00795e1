"""Turns pydantic's errors into lines for people: place, fault and allowed values."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from scope_batch.errors import MAX_PROBLEMS, JobError
from scope_batch.job.chunk_spec import ChunkImage, ChunkPrompt, ChunkReferences, ChunkSpec
from scope_batch.job.faults import Loc, message_of
from scope_batch.job.fields import Encoder, Output, ProcessorUse
from scope_batch.job.foreign_keys import advice_for_key
from scope_batch.job.positions import Mark, Source, show
from scope_batch.job.prompts import WeightedPrompt
from scope_batch.job.schema import Job

MODELS: dict[str, type[BaseModel]] = {
    "": Job,
    "chunk_specs": ChunkSpec,
    "chunk_prompts": ChunkPrompt,
    "first_frames": ChunkImage,
    "last_frames": ChunkImage,
    "vace_ref_images": ChunkReferences,
    "prompt": WeightedPrompt,
    "prompts": WeightedPrompt,
    "transition_target_prompts": WeightedPrompt,
    "output": Output,
    "pre_processor_id": ProcessorUse,
    "post_processor_id": ProcessorUse,
    "video": Encoder,
}
"""Field -> model whose keys a map in it may hold."""


def job_error(error: ValidationError | None, source: Source, known: Sequence[tuple[Mark, str]]) -> JobError:
    """Return an error with all problems of a job, in the order of the text; those of the command line come last.

    `known`: problems found earlier, with their marks; errors of `error` at the same marks are left out. Only the lines
    that will be shown are worded.
    """
    marks = {mark for mark, _ in known}
    problems: list[tuple[Mark | None, Any]] = list(known)
    for details in error.errors(include_url=False) if error is not None else ():
        _, mark = source.known(details["loc"])
        if mark not in marks:
            problems.append((mark, details))
    shown = sorted(problems, key=_position)[:MAX_PROBLEMS]
    lines = [details if isinstance(details, str) else _line(details, source) for _, details in shown]
    return JobError(*lines, more=len(problems) - len(lines))


def _position(problem: tuple[Mark | None, Any]) -> tuple[bool, tuple[int, int]]:
    mark = problem[0]
    return (mark is not None and not mark.origin.has_lines, mark.value if mark is not None else (0, 0))


def _line(details: Any, source: Source) -> str:
    loc: Loc = details["loc"]
    place, mark = source.known(loc)
    kind = details["type"]
    message = _message(details, loc, source)
    if mark is None:
        return ": ".join(part for part in (source.name, show(loc), message) if part)
    field = show((*place, loc[-1]) if kind == "missing" else place)
    at_key = kind in ("extra_forbidden", "fault_of_key") and place[-1:] == loc[-1:]
    return f"{mark.at_key() if at_key else mark.at_value()}: {field}: {message}"


def _message(details: Any, loc: Loc, source: Source) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(loc)
    if "other" in context:
        return str(details["msg"]) + _other(loc, context["other"], source)
    return message_of(kind, str(details["msg"]), value, context)


def _other(loc: Loc, other: Loc, source: Source) -> str:
    """Describe the second place of a fault; a field beside the first one needs no name."""
    place = other if len(other) > 1 else (*loc[:-1], *other)
    _, mark = source.known(place)
    if mark is None or not mark.origin.has_lines:
        return "" if len(other) == 1 else f": {show(other[:-1])}"
    return f" in line {mark.key[0]}"


def _unknown_key(loc: Loc) -> str:
    parent = next((part for part in reversed(loc[:-1]) if isinstance(part, str)), "")
    model = MODELS.get(parent)
    key = str(loc[-1])
    if model is None:
        return "unknown key"
    if (advice := advice_for_key(key, model.__name__)) is not None:
        return f"unknown key; here: {advice}"
    close = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.7)
    if close:
        return f"unknown key (did you mean {close[0]}?)"
    if key in Job.model_fields:
        return "unknown key here (it belongs at the top level of a job)"
    if key in ChunkSpec.model_fields:
        return "unknown key here (it belongs in an entry of chunk_specs)"
    return "unknown key"
