"""Reads, writes and checks single files of a work folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from scope_batch.checkpoint.manifest import Row, open_plain
from scope_batch.core.engine import ByteWriter
from scope_batch.core.failpoint import failpoint
from scope_batch.errors import OutputError

_PIECE_BYTES = 1 << 24


class HashingWriter:
    """A file that is written from its beginning to its end; counts and hashes what is written."""

    def __init__(self, file: RawIOBase) -> None:
        self._file = file
        self._bytes = 0
        self._digest = hashlib.sha256()

    def write(self, data: memoryview | bytes, /) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += self._file.write(view[done : done + _PIECE_BYTES]) or 0
            failpoint("write-piece")
        self._digest.update(view)
        self._bytes += done
        return done

    def described(self) -> Row:
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}


def write_file(path: Path, write: Callable[[ByteWriter], object]) -> Row:
    """Let `write` fill a new file, which takes the place of `path` only when it is whole; returns size and checksum.

    Its bytes survive a power cut, its name only after `sync_folder`. Raises OSError and what `write` raises.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with new.open("xb", buffering=0) as raw:
        failpoint(f"write-{path.suffix[1:]}")
        file = HashingWriter(raw)
        write(file)
        failpoint(f"fsync-{path.suffix[1:]}")
        os.fsync(raw.fileno())
    failpoint(f"rename-{path.suffix[1:]}")
    new.replace(path)
    return file.described()


def described(array: NDArray[Any]) -> Row:
    """Shape, size and checksum of an array, as they stand in the row of a chunk."""
    return {
        "shape": list(array.shape),
        "bytes": array.nbytes,
        "sha256": hashlib.sha256(bytes_of(array)).hexdigest(),
    }


def bytes_of(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")


def read_array(path: Path, dtype: type[Any], row: Row) -> NDArray[Any]:
    """The array that `row` describes. Raises OutputError if the file cannot be read."""
    try:
        with open_plain(path) as file:
            return np.fromfile(file, dtype).reshape(row["shape"])
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read: {error}") from error


def is_sound(path: Path, row: Row) -> bool:
    """The file has the size and checksum of the row. False also if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_plain(path) as file:
            if os.fstat(file.fileno()).st_size != row["bytes"]:
                return False
            for piece in pieces(file):
                digest.update(piece)
    except OSError:
        return False
    return bool(digest.hexdigest() == row["sha256"])


def pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece
