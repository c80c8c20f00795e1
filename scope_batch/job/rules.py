"""What a job must obey beyond each field's own type: fields that exclude or need each other, places given twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scope_batch.job.faults import AT_VALUE, Fault, Loc
from scope_batch.job.scalars import parse_seconds

PLACES = ("chunk", "frame", "time")
TARGETS = ("text", "prompts", "transition_target_prompts")


def chunk_faults(written: Mapping[str, Any]) -> list[Fault]:
    """Faults of one entry of `chunk_specs`; `written` holds its fields that are not null."""
    return [*_place_faults(written), *_target_faults(written), *_transition_faults(written)]


def _place_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
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


def job_faults(written: Mapping[str, Any]) -> list[Fault]:
    return [*_duplicate_chunks(written), *_input_faults(written)]


def _input_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    if "input_path" not in written:
        if written.get("num_frames") == "input":
            yield Fault(("num_frames",), "input needs an input_path", AT_VALUE)
        if written.get("audio") == "input":
            yield Fault(("audio",), "input needs an input_path", AT_VALUE)
    start, end = _seconds(written.get("input_start", 0)), _seconds(written.get("input_end"))
    if start is not None and end is not None and end <= start:
        yield Fault(("input_end",), f"must be after input_start ({start:g} s), not {end:g} s", AT_VALUE)


def _seconds(value: Any) -> float | None:
    try:
        return parse_seconds(value)
    except ValueError:  # the field's own error says what is wrong
        return None


def _duplicate_chunks(written: Mapping[str, Any]) -> Iterator[Fault]:
    seen: dict[int, Loc] = {}
    for index, entry in _placed_entries(written.get("chunk_specs")):
        chunk, loc = entry["chunk"], ("chunk_specs", index, "chunk")
        if chunk in seen:
            yield Fault(loc, f"chunk {chunk} has an entry already", AT_VALUE, other=seen[chunk])
        else:
            seen[chunk] = loc


def _placed_entries(entries: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Entries that are placed by a chunk index, as far as they are well formed."""
    for index, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        if isinstance(entry, Mapping) and type(entry.get("chunk")) is int:
            yield index, entry


def fold_chunk_prompts(written: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Loc, Loc]]:
    """`chunk_prompts` (the protocol's first revision) as entries of `chunk_specs`, and what moved where.

    A prompt joins its chunk's entry if that has none. Malformed lists are left alone: their own errors follow.
    """
    prompts, specs = written.get("chunk_prompts"), written.get("chunk_specs") or ()
    if not isinstance(prompts, (list, tuple)) or not isinstance(specs, (list, tuple)):
        return dict(written), {}
    if not all(_is_chunk_prompt(entry) for entry in prompts):
        return dict(written), {}
    folded, moved = list(specs), dict[Loc, Loc]()
    free = {e["chunk"]: i for i, e in _placed_entries(specs) if all(e.get(target) is None for target in TARGETS)}
    for index, entry in enumerate(prompts):
        place = free.pop(entry["chunk"], None)
        if place is None:
            moved["chunk_prompts", index] = ("chunk_specs", len(folded))
            folded.append(entry)
        else:
            moved["chunk_prompts", index, "text"] = ("chunk_specs", place, "text")
            folded[place] = {**folded[place], "text": entry["text"]}
    rest = {key: value for key, value in written.items() if key != "chunk_prompts"}
    return {**rest, "chunk_specs": folded}, moved


def _is_chunk_prompt(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or set(entry) != {"chunk", "text"}:
        return False
    return type(entry["chunk"]) is int and entry["chunk"] >= 0 and isinstance(entry["text"], str)
