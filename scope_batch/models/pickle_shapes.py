"""Reads the shapes of the tensors in a file of `torch.save`, without torch and without running code.

The file is a zip archive, in which one small pickle lists every tensor with its shape.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scope_batch.errors import JobError

Shape = tuple[int, ...]

LONGEST_PICKLE_BYTES = 64 << 20
"""Limit of the pickle; those of published checkpoints are under 1 MB."""

UNREADABLE_PICKLE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, zlib.error, EOFError, ValueError, LookupError),
    *(TypeError, AttributeError, AssertionError, RuntimeError, OverflowError, MemoryError, NotImplementedError),
)
"""All errors that unpicklers of Python and torch, and zipfile, raise on damaged or foreign files."""


def check_archive(path: Path) -> None:
    """Raise JobError for an archive that would unpack to more bytes than the file has (a zip bomb).

    torch.save never compresses. A file that is no archive passes. Raises OSError, and one of `UNREADABLE_PICKLE` if the
    archive is damaged.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    directory = max((member.file_size for member in members if member.filename.endswith("data.pkl")), default=0)
    if unpacked > path.stat().st_size or directory > LONGEST_PICKLE_BYTES:
        raise JobError(
            f"{path}: unpacks to {unpacked / 1e6:,.0f} MB, its list of tensors to {directory / 1e6:,.0f}: "
            "no checkpoint of torch.save does, so it is not read"
        )


def read_pickle_shapes(path: Path) -> dict[str, Shape]:
    """Return the shapes by key. Inner dictionaries are flattened; the result is empty for an unreadable file."""
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(member) as file:
                return dict(_shapes(_Shapes(file).load()))
    except (*UNREADABLE_PICKLE, OSError, JobError, StopIteration):
        return {}


class _Inert:
    """Replaces any class or function that a pickle names; it accepts all arguments and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...


class _Tensor(tuple[int, ...]):
    """The shape of a tensor."""


def _tensor(_storage: object, _offset: object, shape: Shape, *_: object) -> _Tensor:
    return _Tensor(shape)


def _parameter(tensor: object, *_: object) -> object:
    return tensor


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Shapes(pickle.Unpickler):
    """An unpickler that imports nothing: it knows a few names and replaces all others by `_Inert`."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _KNOWN.get((module, name), _Inert)

    def persistent_load(self, _: Any) -> None:
        return None


def _shapes(loaded: object) -> list[tuple[str, Shape]]:
    if not isinstance(loaded, dict):
        return []
    own = [(str(key), tuple(value)) for key, value in loaded.items() if isinstance(value, _Tensor)]
    return own or [pair for value in loaded.values() for pair in _shapes(value)]
