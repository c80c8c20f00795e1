"""What a job must obey beyond each field's own type: fields that exclude or need each other, places given twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scope_batch.job import material_rules
from scope_batch.job.faults import AT_VALUE, Fault, Loc
from scope_batch.job.scalars import parse_seconds

PLACES = ("chunk", "frame", "time")
TARGETS = ("text", "prompts", "transition_target_prompts")


def chunk_faults(written: Mapping[str, Any]) -> list[Fault]:
    """Faults of one entry of `chunk_specs`; `written` holds its fields that are not null."""
    return [
        *place_faults(written),
        *_target_faults(written),
        *_transition_faults(written),
        *material_rules.entry_faults(written),
        *_reference_faults(written),
    ]


def place_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    places = [name for name in written if name in PLACES]
    if not places:
        yield Fault((), "needs its place: one of chunk, frame and time")
    for name in places[1:]:
        yield Fault((name,), f"the place is given twice, first as {places[0]}", other=(places[0],))


def _target_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    targets = [name for name in written if name in TARGETS]
    for name in targets[1:]:
        yield Fault((name,), f"the prompt is given twice, first as {targets[0]}", other=(targets[0],))


def _transition_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    if not any(name in written for name in TARGETS):
        if written.get("transition_num_steps", 0) != 0:
            yield Fault(("transition_num_steps",), "a transition needs its target: text or prompts in the same entry")
        if written.get("transition_method", "linear") != "linear":
            yield Fault(("transition_method",), "a transition needs its target: text or prompts in the same entry")


def _reference_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    images = written.get("vace_ref_images")
    if isinstance(images, (list, tuple)) and len(images) > 1 and not any(isinstance(item, Mapping) for item in images):
        yield Fault(("vace_ref_images",), f"a chunk takes one reference image, not {len(images)}")


def job_faults(written: Mapping[str, Any]) -> list[Fault]:
    return [
        *_duplicate_chunks(written),
        *_input_faults(written),
        *material_rules.job_faults(written),
        *_reference_faults(written),
    ]


def _input_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    if "input_path" not in written:
        if written.get("num_frames") == "input":
            yield Fault(("num_frames",), "input needs an input_path", AT_VALUE)
        if written.get("audio") == "input":
            yield Fault(("audio",), "input needs an input_path", AT_VALUE)
        if written.get("vace_fps") == "input":
            yield Fault(("vace_fps",), "input needs an input_path", AT_VALUE)
    for clip in ("input", "vace"):
        start, end = _seconds(written.get(f"{clip}_start", 0)), _seconds(written.get(f"{clip}_end"))
        if start is not None and end is not None and end <= start:
            yield Fault((f"{clip}_end",), f"must be after {clip}_start ({start:g} s), not {end:g} s", AT_VALUE)


def _seconds(value: Any) -> float | None:
    try:
        return parse_seconds(value)
    except ValueError:  # the field's own error says what is wrong
        return None


def _duplicate_chunks(written: Mapping[str, Any]) -> Iterator[Fault]:
    seen: dict[int, Loc] = {}
    for index, entry in placed_entries(written.get("chunk_specs")):
        chunk, loc = entry["chunk"], ("chunk_specs", index, "chunk")
        if chunk in seen:
            yield Fault(loc, f"chunk {chunk} has an entry already", AT_VALUE, other=seen[chunk])
        else:
            seen[chunk] = loc


def placed_entries(entries: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Entries that are placed by a chunk index, as far as they are well formed."""
    for index, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        if isinstance(entry, Mapping) and type(entry.get("chunk")) is int:
            yield index, entry
