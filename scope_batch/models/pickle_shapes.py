"""Shapes of the tensors in a file of `torch.save`, read from its directory of keys alone: torch-free, nothing is run.

The file is a zip archive; one small member of it is a pickle that names every tensor with its shape.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]

LONGEST_PICKLE_BYTES = 64 << 20
"""The pickles of published checkpoints are under 1 MB."""

_UNREADABLE = (pickle.UnpicklingError, zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, LookupError,
               TypeError, AttributeError, RecursionError, OverflowError, MemoryError)  # fmt: skip


def read_pickle_shapes(path: Path) -> dict[str, Shape]:
    """Shapes by key, those of inner dictionaries with their own keys; empty for a file that cannot be read so."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            if archive.getinfo(member).file_size > LONGEST_PICKLE_BYTES:
                return {}
            with archive.open(member) as file:
                return dict(_shapes(_Shapes(file).load()))
    except (*_UNREADABLE, StopIteration):
        return {}


class _Inert:
    """Stands for whatever a pickle names: it takes everything and does nothing."""

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
    """Imports nothing: a few names are known, every other one is inert."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _KNOWN.get((module, name), _Inert)

    def persistent_load(self, _: Any) -> None:
        return None


def _shapes(loaded: object) -> list[tuple[str, Shape]]:
    if not isinstance(loaded, dict):
        return []
    here = [(str(key), tuple(value)) for key, value in loaded.items() if isinstance(value, _Tensor)]
    return here or [pair for value in loaded.values() for pair in _shapes(value)]
