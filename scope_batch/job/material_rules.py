"""What a job must obey where it names control frames, masks and input video: a path, or a part of the data blob."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from scope_batch.job.faults import AT_VALUE, Fault, shown

MAX_BYTES = 2**63 - 1
"""No file is larger."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How an array stands in a data blob. `pattern`: its axes; a number is allowed as it is, a letter at any length."""

    pattern: tuple[int | str, ...]
    channels: tuple[int, ...]
    bytes: int
    frames_axis: int

    def fault(self, shape: Any, offset: Any) -> str | None:
        """What is wrong with a shape of whole numbers >= 1, or None; of anything else the field's type complains."""
        if not isinstance(shape, (list, tuple)) or not all(type(length) is int and length >= 1 for length in shape):
            return None
        fits = len(shape) == len(self.pattern) and all(
            length in self.channels if axis == "C" else axis in (length, "T", "H", "W")
            for length, axis in zip(shape, self.pattern, strict=True)
        )
        if not fits:
            return f"must be {self._spelled()}, not {_listed(shape)}"
        if math.prod(shape) * self.bytes + (offset if type(offset) is int else 0) > MAX_BYTES:
            return f"{_listed(shape)} is larger than any file"
        return None

    def _spelled(self) -> str:
        ways = [[channels if axis == "C" else axis for axis in self.pattern] for channels in self.channels]
        return " or ".join(_listed(way) for way in ways)


LAYOUTS = {
    "vace_frames": Layout((1, "C", "T", "H", "W"), (3, 1), 4, 2),
    "vace_masks": Layout((1, "C", "T", "H", "W"), (1,), 4, 2),
    "input_video": Layout(("T", "H", "W", "C"), (3,), 1, 0),
}


STEERS_BY = {"vace_use_input_video": True, "pre_processor_output": "vace_frames"}
"""Fields and their values that send the input video through VACE."""


def entry_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of one entry of `chunk_specs`; `written` holds its fields that are not null."""
    for field, layout in LAYOUTS.items():
        shape, offset = f"{field}_shape", f"{field}_offset"
        parts = [name for name in (offset, shape) if name in written]
        if field in written and parts:
            yield Fault(
                (parts[0],), f"{field} is given twice, as a path and as a part of the data blob", other=(field,)
            )
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


def job_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
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
                yield Fault(loc, "there is no data_blob_path that it could point into")
    elif not parts:
        yield Fault(("data_blob_path",), "no entry of chunk_specs uses it (vace_frames_offset and the like)")
    yield from _steering_faults(written)


def _steering_faults(written: Mapping[str, Any]) -> Iterator[Fault]:
    """Of an input video that goes through VACE, as it is or processed."""
    asked = [field for field, value in STEERS_BY.items() if written.get(field) == value]
    for field in asked:
        if "input_path" not in written:
            yield Fault((field,), "needs an input_path")
    if asked and "vace_frames" in written:
        message = f"the control frames are given twice, first by {asked[0]}"
        yield Fault(("vace_frames",), message, other=(asked[0],))
    if asked == ["vace_use_input_video"] and written.get("pre_processor_output") == "video":
        message = "the input video cannot go into the latents as well as through VACE (vace_use_input_video)"
        yield Fault(("pre_processor_output",), message, AT_VALUE, other=("vace_use_input_video",))


def _names(written: Mapping[str, Any], *fields: str) -> bool:
    return any(name in written for field in fields for name in (field, f"{field}_offset"))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _fields(entry: Any) -> Mapping[str, Any]:
    """An entry's fields, whether it was read or made in Python."""
    if isinstance(entry, BaseModel):
        return {name: getattr(entry, name) for name in entry.model_fields_set}
    return entry if isinstance(entry, Mapping) else {}


def _listed(values: Any) -> str:
    return f"[{', '.join(shown(value) if isinstance(value, int) else str(value) for value in values)}]"
