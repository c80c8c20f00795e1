"""Frames of an uncompressed array, `.npy` or the `.bin` of the upload protocol, read one at a time.

Never mapped: a file that shrinks under a mapping kills the process. Never unpickled.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from scope_batch.errors import JobError
from scope_batch.media.source import Frame, Source
from scope_batch.media.timing import Timing

CHANNELS = 3
BIN_HEADER = struct.Struct("<5I")
"""Little-endian: the number of dimensions (4), then T, H, W, C."""

Shape = tuple[int, ...]


class ArraySource(Source):
    """A file of a header and then uint8 [T, H, W, 3] in C order, and nothing after it."""

    def __init__(self, path: Path, read_header: Callable[[BinaryIO, str], Shape]) -> None:
        self.name = path.name
        self._file = path.open("rb", buffering=0)
        try:
            shape = read_header(self._file, self.name)
            self._start = self._file.tell()
            self._check(shape)
        except BaseException:
            self._file.close()
            raise
        frames, self.height, self.width, _ = shape
        self._frame_bytes = prod(shape[1:])
        self.timing = Timing.even(frames)

    def frame(self, index: int) -> Frame:
        data = os.pread(self._file.fileno(), self._frame_bytes, self._start + index * self._frame_bytes)
        if len(data) < self._frame_bytes:
            raise JobError(f"{self.name}: frame {index} of {self.frames} is missing: the file became shorter")
        return np.frombuffer(data, np.uint8).reshape(self.height, self.width, CHANNELS)

    def close(self) -> None:
        self._file.close()

    def _check(self, shape: Shape) -> None:
        if len(shape) != 4 or shape[3] != CHANNELS or min(shape) < 1:
            raise JobError(f"{self.name}: shape {list(shape)} is not [T, H, W, 3] with at least one frame")
        promised, found = prod(shape), os.fstat(self._file.fileno()).st_size - self._start
        if found < promised:
            whole = found // prod(shape[1:])
            raise JobError(f"{self.name}: is cut short: it holds {whole} of the {shape[0]} frames its header promises")
        if found > promised:
            raise JobError(f"{self.name}: {found - promised} bytes follow the {shape[0]} frames its header promises")


def read_npy_header(file: BinaryIO, name: str) -> Shape:
    """Shape from a `.npy` header, `file` left at the data. Raises JobError unless it is uint8 in C order."""
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = npy_format.read_array_header_2_0(file)
        else:
            raise JobError(f"{name}: .npy version {version[0]}.{version[1]} is not supported; 1.0 and 2.0 are")
    except ValueError as error:
        raise JobError(f"{name}: is not a readable .npy file: {str(error).splitlines()[0]}") from error
    if dtype.hasobject:
        raise JobError(f"{name}: holds Python objects, which are never loaded; it must be uint8 [T, H, W, 3]")
    if dtype != np.uint8:
        raise JobError(f"{name}: dtype {dtype} is not uint8")
    if fortran:
        raise JobError(f"{name}: is in Fortran order; save np.ascontiguousarray(frames) instead")
    return shape


def read_bin_header(file: BinaryIO, name: str) -> Shape:
    """Shape from the 20 bytes before the data, `file` left at the data."""
    header = file.read(BIN_HEADER.size)
    if len(header) < BIN_HEADER.size:
        raise JobError(f"{name}: is cut short within its {BIN_HEADER.size}-byte header")
    dimensions, *shape = BIN_HEADER.unpack(header)
    if dimensions != 4:
        raise JobError(f"{name}: its header says {dimensions} dimensions, not 4 (T, H, W, C)")
    return tuple(shape)
