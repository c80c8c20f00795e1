"""Where a tensor lies in a safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from scope_batch.errors import JobError
from scope_batch.files.safetensors_header import read_safetensors_header
from scope_batch.media.array_file import ArrayPlace, Locate

_ELEMENTS = {"U8": "uint8", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_NAMES_SHOWN = 5


def other_tensors(path: Path, tensor: str) -> tuple[str, ...]:
    """The tensors of a file besides the one that is read."""
    with path.open("rb") as file:
        return tuple(name for name in read_safetensors_header(file, path.name).tensors if name != tensor)


def locate_tensor(tensor: str) -> Locate:
    """The tensor called `tensor`. Raises JobError if the file is damaged, no safetensors file, or has none of it."""

    def locate(file: BinaryIO, name: str) -> ArrayPlace:
        tensors = read_safetensors_header(file, name).tensors
        if tensor not in tensors:
            shown = ", ".join(list(tensors)[:_NAMES_SHOWN]) or "nothing"
            raise JobError(f"{name}: holds no tensor `{tensor}`; it holds {shown}")
        entry = tensors[tensor]
        return ArrayPlace(entry.start, entry.shape, _ELEMENTS.get(entry.dtype, entry.dtype), alone=False)

    return locate
