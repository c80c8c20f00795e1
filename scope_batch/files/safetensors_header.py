"""Reads the header of a safetensors file; the tensors are neither read nor mapped.

The file begins with the length of its header (8 bytes, little-endian), then the header as JSON: key ->
dtype, shape and place of the tensor, and `__metadata__`. The tensors follow side by side and fill the file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from scope_batch.errors import JobError
from scope_batch.files.kinds import described

HEADER_LIMIT_BYTES = 100_000_000
"""The limit of the format."""

_LENGTH_BYTES = 8
_DTYPE_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """dtype: the format's name ("F32", "BF16" ...); start, end: bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def read_safetensors_header(file: BinaryIO, name: str) -> SafetensorsHeader:
    """Read the header of a file opened at its beginning; messages call it `name`.

    Raises JobError if it is not a safetensors file, or is damaged or truncated.
    """
    size = os.fstat(file.fileno()).st_size
    raw = _read_json(file, size, name)
    data_start = _LENGTH_BYTES + len(raw)
    try:
        table = json.loads(raw, object_pairs_hook=_without_duplicates)
        metadata = {str(key): str(value) for key, value in (table.pop("__metadata__", None) or {}).items()}
        tensors = {key: _entry(value, data_start) for key, value in table.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise JobError(f"{name}: not a readable safetensors file: its header is damaged") from error
    _check_places(tensors, data_start, size, name)
    return SafetensorsHeader(tensors, metadata)


def _read_json(file: BinaryIO, size: int, name: str) -> bytes:
    start = file.read(32)
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if (
        len(start) < _LENGTH_BYTES + 2
        or length > HEADER_LIMIT_BYTES
        or start[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{"
    ):
        _refuse(start, name)
    if _LENGTH_BYTES + length > size:
        raise JobError(f"{name}: truncated: it ends inside its header")
    file.seek(_LENGTH_BYTES)
    return file.read(length)


def _refuse(start: bytes, name: str) -> NoReturn:
    hint = f": it looks like {kind}" if (kind := described(start)) else ""
    raise JobError(f"{name}: not a safetensors file{hint if start else ': it is empty'}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("duplicate name")
    return table


def _entry(value: Mapping[str, Any], data_start: int) -> TensorEntry:
    """Raises ValueError, TypeError or LookupError for an inconsistent entry."""
    begin, end = value["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (begin, end, *value["shape"])):
        raise ValueError("not a size")
    if end - begin != math.prod(value["shape"]) * _DTYPE_BYTES[value["dtype"]]:
        raise ValueError("size and shape differ")
    return TensorEntry(value["dtype"], tuple(value["shape"]), data_start + begin, data_start + end)


def _check_places(tensors: Mapping[str, TensorEntry], data_start: int, size: int, name: str) -> None:
    end = data_start
    for entry in sorted(tensors.values(), key=lambda entry: (entry.start, entry.end)):
        if entry.start != end:
            raise JobError(f"{name}: damaged: its tensors overlap or leave gaps")
        end = entry.end
    if end != size:
        raise JobError(f"{name}: truncated or damaged: {size:,} bytes, its header declares {end:,} bytes")
