"""What a safetensors file says of itself in its first bytes. Torch-free: `plan` refuses a wrong file too.

The file begins with the length of its header (8 bytes, little-endian), then the header as JSON: key ->
dtype, shape and place of the tensor, and `__metadata__`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from scope_batch.errors import JobError, MissingInputError

HEADER_LIMIT_BYTES = 100 << 20
"""The format's own limit."""

_DTYPE_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
_OTHER_FILES = (
    (b"PK\x03\x04", "a pickle of torch.save (or another archive)"),
    (b"\x80", "a pickle"),
    (b"version https://git-lfs", "a Git LFS pointer, which `git lfs pull` replaces by the file"),
    (b"<", "a web page"),
)


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """Shapes and dtypes ("F32", "BF16" ...) by key, as the file names them, and its free-form notes."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Raises MissingInputError, or JobError for a file that is no safetensors file, or is damaged or truncated."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            raw = _read_header(file, size, path)
    except OSError as error:
        raise JobError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        header = json.loads(raw)
        metadata = header.pop("__metadata__", None) or {}
        shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
        dtypes = {key: str(entry["dtype"]) for key, entry in header.items()}
        end = max((_end(entry) for entry in header.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise JobError(f"{path}: not a readable safetensors file: its header is damaged") from error
    if 8 + len(raw) + end != size:
        raise JobError(
            f"{path}: truncated or damaged: {size:,} bytes, its header speaks of {8 + len(raw) + end:,} bytes"
        )
    return SafetensorsHeader(path, shapes, dtypes, {str(key): str(value) for key, value in metadata.items()})


def _read_header(file: BinaryIO, size: int, path: Path) -> bytes:
    start = file.read(32)
    length = int.from_bytes(start[:8], "little")
    if len(start) < 10 or length > HEADER_LIMIT_BYTES or start[8:9] != b"{":
        _refuse(start, path)
    if 8 + length > size:
        raise JobError(f"{path}: truncated: it ends inside its header")
    file.seek(8)
    return file.read(length)


def _refuse(start: bytes, path: Path) -> NoReturn:
    what = next((f": it looks like {what}" for magic, what in _OTHER_FILES if start.startswith(magic)), "")
    raise JobError(f"{path}: not a safetensors file{what if start else ': it is empty'}")


def _end(entry: Mapping[str, Any]) -> int:
    """Where a tensor ends in the data. Raises ValueError or the like for an entry that contradicts itself."""
    begin, end = entry["data_offsets"]
    if any(type(n) is not int or n < 0 for n in (begin, end, *entry["shape"])):
        raise ValueError("not a size")
    if end - begin != math.prod(entry["shape"]) * _DTYPE_BYTES[entry["dtype"]]:
        raise ValueError("size and shape differ")
    return int(end)
