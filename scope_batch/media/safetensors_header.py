"""Where a tensor lies in a safetensors file, from the header alone: read, never mapped."""

from __future__ import annotations

import json
import os
import struct
from math import prod
from typing import Any, BinaryIO

from scope_batch.errors import JobError
from scope_batch.media.array_file import ArrayPlace, Locate

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

_LENGTH = struct.Struct("<Q")
_ELEMENTS = {"U8": ("uint8", 1), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2)}
_NAMES_SHOWN = 5


def locate_tensor(tensor: str) -> Locate:
    """The tensor called `tensor`. Raises JobError if the file is damaged, no safetensors file, or has none of it."""

    def locate(file: BinaryIO, name: str) -> ArrayPlace:
        header, start = _header(file, name)
        entries = {key: _entry(value) for key, value in header.items() if key != "__metadata__"}
        _check_layout(entries, os.fstat(file.fileno()).st_size - start, name)
        if tensor not in entries:
            shown = ", ".join(list(entries)[:_NAMES_SHOWN]) or "nothing"
            raise JobError(f"{name}: holds no tensor `{tensor}`; it holds {shown}")
        dtype, shape, (begin, end) = entries[tensor]  # type: ignore[misc]  # `_check_layout` refused None
        element, size = _ELEMENTS.get(dtype, (dtype, None))
        if size is not None and prod(shape) * size != end - begin:
            raise JobError(
                f"{name}: is damaged: `{tensor}` {list(shape)} {dtype} does not fill its {end - begin} bytes"
            )
        return ArrayPlace(start + begin, shape, element, alone=False)

    return locate


_Entry = tuple[str, tuple[int, ...], tuple[int, int]]
"""dtype, shape, (first byte, end) counted from the end of the header."""


def _header(file: BinaryIO, name: str) -> tuple[dict[str, Any], int]:
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(_LENGTH.size)
    length = _LENGTH.unpack(prefix)[0] if len(prefix) == _LENGTH.size else size
    if length > min(MAX_HEADER_BYTES, size - _LENGTH.size):
        raise JobError(f"{name}: is not a safetensors file, or is cut short within its header")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise JobError(f"{name}: is not a safetensors file: its header cannot be read") from error
    if not isinstance(header, dict):
        raise JobError(f"{name}: is not a safetensors file: its header is no table of tensors")
    return header, _LENGTH.size + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name comes twice")
    return table


def _entry(value: Any) -> _Entry | None:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            if all(type(side) is int and side >= 0 for side in shape):
                return dtype, tuple(shape), (begin, end)
    return None


def _check_layout(entries: dict[str, _Entry | None], data_bytes: int, name: str) -> None:
    """The tensors must lie side by side and fill the file: no overlap, no gap, nothing beyond the end."""
    for key, entry in entries.items():
        if entry is None:
            raise JobError(f"{name}: is damaged: its header says nothing sensible of `{key}`")
    end_of_last = 0
    for begin, end in sorted(entry[2] for entry in entries.values() if entry is not None):
        if begin != end_of_last or end < begin:
            raise JobError(f"{name}: is damaged: its tensors overlap or leave gaps")
        end_of_last = end
    if end_of_last > data_bytes:
        raise JobError(f"{name}: is cut short: it holds {data_bytes} of the {end_of_last} bytes its header promises")
    if end_of_last < data_bytes:
        raise JobError(f"{name}: {data_bytes - end_of_last} bytes follow the tensors its header promises")
