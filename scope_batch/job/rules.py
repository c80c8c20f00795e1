"""Checks the rules of a job beyond each field's own type: fields that exclude or need each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from scope_batch.job.faults import AT_VALUE, Fault, Loc, shown
from scope_batch.job.scalars import parse_seconds

PLACES = ("chunk", "frame", "time")
TARGETS = ("text", "prompts", "transition_target_prompts")


def chunk_faults(written: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of one entry of `chunk_specs`. `written` holds its fields that are not null."""
    return [
        *place_faults(written),
        *_target_faults(written),
        *_transition_faults(written),
        *_entry_source_faults(written),
        *_reference_faults(written),
    ]


def place_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    places = [name for name in written if name in PLACES]
    if not places:
        yield Fault((), "needs its place: one of chunk, frame and time")
    for name in places[1:]:
        yield Fault((name,), f"the place is set twice, first as {places[0]}", other=(places[0],))


def _target_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    targets = [name for name in written if name in TARGETS]
    for name in targets[1:]:
        yield Fault((name,), f"the prompt is set twice, first as {targets[0]}", other=(targets[0],))


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
        *_source_faults(written),
        *_reference_faults(written),
        *_weight_faults(written),
    ]


def _weight_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    if written.get("speed") == "high" and "quantization" in written:
        reason = "high also changes the number format of the weights: leave it out, or the quantization"
        yield Fault(("speed",), reason, AT_VALUE, other=("quantization",))


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
    except ValueError:  # the field's own error reports it
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
    """Yield (index, entry) of the well-formed entries that are placed by a chunk index."""
    for index, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        if isinstance(entry, Mapping) and type(entry.get("chunk")) is int:
            yield index, entry


MAX_BYTES = 2**63 - 1
"""Upper bound of the size of a file."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of an array in a data blob. `pattern`: its axes; a number is a fixed length, a letter any length.

    channels     allowed lengths of axis C.
    bytes        of one element.
    frames_axis  index of the axis of frames.
    """

    pattern: tuple[int | str, ...]
    channels: tuple[int, ...]
    bytes: int
    frames_axis: int

    def fault(self, shape: Any, offset: Any) -> str | None:
        """Return the fault of a shape, or None. The field's type reports values other than integers >= 1."""
        if not isinstance(shape, (list, tuple)) or not all(type(length) is int and length >= 1 for length in shape):
            return None
        fits = len(shape) == len(self.pattern) and all(
            length in self.channels if axis == "C" else axis in (length, "T", "H", "W")
            for length, axis in zip(shape, self.pattern, strict=True)
        )
        if not fits:
            return f"must be {self._allowed_shapes()}, not {_listed(shape)}"
        if math.prod(shape) * self.bytes + (offset if type(offset) is int else 0) > MAX_BYTES:
            return f"{_listed(shape)} is larger than any file"
        return None

    def _allowed_shapes(self) -> str:
        shapes = [[channels if axis == "C" else axis for axis in self.pattern] for channels in self.channels]
        return " or ".join(_listed(shape) for shape in shapes)


LAYOUTS = {
    "vace_frames": Layout((1, "C", "T", "H", "W"), (3, 1), 4, 2),
    "vace_masks": Layout((1, "C", "T", "H", "W"), (1,), 4, 2),
    "input_video": Layout(("T", "H", "W", "C"), (3,), 1, 0),
}


STEERS_BY = {"vace_use_input_video": True, "pre_processor_output": "vace_frames"}
"""Fields and their values that send the input video through VACE."""


def _entry_source_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    """Return the faults of one entry of `chunk_specs`. `written` holds its fields that are not null."""
    for field, layout in LAYOUTS.items():
        shape, offset = f"{field}_shape", f"{field}_offset"
        parts = [name for name in (offset, shape) if name in written]
        if field in written and parts:
            yield Fault((parts[0],), f"{field} is set twice, as a path and as a part of the data blob", other=(field,))
        elif len(parts) == 1:
            yield Fault((parts[0],), f"a part of the data blob needs both {offset} and {shape}")
        if message := layout.fault(written.get(shape), written.get(offset)):
            yield Fault((shape,), message, AT_VALUE)
    yield from _length_faults(written)
    if written.get("vace_temporally_locked") is False and not _names(written, "vace_frames", "vace_masks"):
        yield Fault(("vace_temporally_locked",), "there are no vace_frames or vace_masks in this entry")


def _length_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    frames, masks = _part_length(written, "vace_frames"), _part_length(written, "vace_masks")
    if frames is not None and masks is not None and frames != masks:
        yield Fault(("vace_masks_shape",), f"{masks} masks for {frames} frames of vace_frames", AT_VALUE)


def _part_length(written: Mapping[str, Any], field: str) -> int | None:
    layout, shape = LAYOUTS[field], written.get(f"{field}_shape")
    if not isinstance(shape, (list, tuple)) or len(shape) != len(layout.pattern):
        return None
    length = shape[layout.frames_axis]
    return length if type(length) is int else None


def _source_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    entries = [(index, _fields(entry)) for index, entry in enumerate(_list(written.get("chunk_specs")))]
    parts = [
        ("chunk_specs", index, name)
        for index, entry in entries
        for field in LAYOUTS
        for name in (f"{field}_offset", f"{field}_shape")
        if entry.get(name) is not None
    ]
    if "data_blob_path" not in written:
        for loc in parts:
            if loc[-1].endswith("_offset"):
                yield Fault(loc, "there is no data_blob_path that the offset could refer to")
    elif not parts:
        yield Fault(("data_blob_path",), "no entry of chunk_specs uses it (vace_frames_offset and the like)")
    yield from _steering_faults(written)


def _steering_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of an input video that goes through VACE, processed or not."""
    steering = [field for field, value in STEERS_BY.items() if written.get(field) == value]
    for field in steering:
        if "input_path" not in written:
            yield Fault((field,), "needs an input_path")
    if steering and "vace_frames" in written:
        message = f"the control frames are set twice, first by {steering[0]}"
        yield Fault(("vace_frames",), message, other=(steering[0],))
    if steering == ["vace_use_input_video"] and written.get("pre_processor_output") == "video":
        message = "the input video cannot go into the latents as well as through VACE (vace_use_input_video)"
        yield Fault(("pre_processor_output",), message, AT_VALUE, other=("vace_use_input_video",))


def _names(written: Mapping[str, Any], *fields: str) -> bool:
    return any(name in written for field in fields for name in (field, f"{field}_offset"))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _fields(entry: Any) -> Mapping[str, Any]:
    """Return the fields of an entry, which is a map or a Python object."""
    if isinstance(entry, BaseModel):
        return {name: getattr(entry, name) for name in entry.model_fields_set}
    return entry if isinstance(entry, Mapping) else {}


def _listed(values: Any) -> str:
    return f"[{', '.join(shown(value) if isinstance(value, int) else str(value) for value in values)}]"
