"""Reads frames of an uncompressed uint8 array: `.npy`, the `.bin` of the upload protocol, or a part of a data blob."""

from __future__ import annotations

import io
import re
import struct
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from scope_batch.core.timeline import BlobPart
from scope_batch.core.timing import Timing
from scope_batch.errors import JobError
from scope_batch.files.safetensors_header import read_safetensors_header
from scope_batch.media.array_file import ArrayFile, ArrayPlace, Locate
from scope_batch.media.source import Frame, Source

CHANNELS = 3


class ArraySource(Source):
    """uint8 [T, H, W, 3] in C order, one frame read at a time."""

    def __init__(self, path: Path, locate: Locate) -> None:
        self._array = ArrayFile(path, locate, _check)
        self.name = self._array.name
        frames, self.height, self.width, _ = self._array.place.shape
        self.timing = Timing.even(frames)

    def frame(self, index: int) -> Frame:
        size = self.height * self.width * CHANNELS
        return self._array.read(index * size, size, index).reshape(self.height, self.width, CHANNELS)

    def close(self) -> None:
        self._array.close()


def _check(place: ArrayPlace, name: str) -> None:
    if place.element != "uint8":
        raise JobError(f"{name}: dtype {place.element} is not uint8")
    shape = place.shape
    if len(shape) != 4 or shape[3] != CHANNELS or min(shape) < 1:
        raise JobError(f"{name}: shape {list(shape)} is not [T, H, W, 3] with at least one frame")
    assert place.frame_bytes == prod(shape[1:])


BIN_HEADER = struct.Struct("<5I")
"""Little-endian: the number of dimensions (4), then T, H, W, C."""

_NPY_HEADER_BYTES = 16_384
"""The longest header that numpy reads."""
_PYTHON_2_LONG = re.compile(rb"(\d)L\b")

PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl")
_PICKLE_BEGINS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def pickle_refusal(name: str) -> JobError:
    """Return the error for a pickle, which is never loaded."""
    return JobError(
        f"{name}: is a pickle, which can hold code and is not loaded; save the tensor as .safetensors (`frames` or "
        "`masks`) or .npy"
    )


def locate_npy(file: BinaryIO, name: str) -> ArrayPlace:
    """Locate the array of a `.npy` file. Raises JobError if it is not one, holds objects or is not in C order."""
    shape, fortran, dtype, start = _npy_header(file, name)
    if dtype.hasobject:
        raise JobError(f"{name}: holds Python objects, which are never loaded")
    if fortran:
        raise JobError(f"{name}: is in Fortran order; save np.ascontiguousarray(frames) instead")
    big_endian = dtype.newbyteorder("<") != dtype
    return ArrayPlace(start, shape, f"{dtype.name} (big-endian)" if big_endian else dtype.name)


def _npy_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, True for Fortran order, dtype, and the offset of the data in bytes.

    numpy parses the header as a Python literal, so a damaged one raises any error of Python's parser. Long integers of
    Python 2 ("9L") are replaced first, to avoid numpy's warning.
    """
    start = io.BytesIO(_PYTHON_2_LONG.sub(rb"\1 ", file.read(_NPY_HEADER_BYTES)))
    try:
        version = npy_format.read_magic(start)
        if version not in ((1, 0), (2, 0)):
            raise JobError(f"{name}: .npy version {version[0]}.{version[1]} is not supported; 1.0 and 2.0 are")
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        return (*read(start), start.tell())
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise JobError(f"{name}: is not a readable .npy file: {(str(error).splitlines() or [''])[0]}") from error


def locate_bin(file: BinaryIO, name: str) -> ArrayPlace:
    """Locate the array after its 20-byte header."""
    header = file.read(BIN_HEADER.size)
    if header.startswith(_PICKLE_BEGINS):
        raise pickle_refusal(name)
    if len(header) < BIN_HEADER.size:
        raise JobError(f"{name}: is cut short within its {BIN_HEADER.size}-byte header")
    dimensions, *shape = BIN_HEADER.unpack(header)
    if dimensions != 4:
        raise JobError(f"{name}: its header has {dimensions} dimensions, not 4 (T, H, W, C)")
    return ArrayPlace(BIN_HEADER.size, tuple(shape), "uint8")


def locate_part(part: BlobPart, element: str) -> Locate:
    """Return the function that locates a part of a data blob."""

    def locate(_: BinaryIO, name: str) -> ArrayPlace:
        if part.offset < 0:
            raise JobError(f"{name}: offset {part.offset} is negative")
        return ArrayPlace(part.offset, tuple(part.shape), element, alone=False)

    return locate


_ELEMENTS = {"U8": "uint8", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_NAMES_SHOWN = 5


def other_tensors(path: Path, tensor: str) -> tuple[str, ...]:
    """Return the names of the other tensors in a safetensors file."""
    with path.open("rb") as file:
        return tuple(name for name in read_safetensors_header(file, path.name).tensors if name != tensor)


def locate_tensor(tensor: str) -> Locate:
    """Return the function that locates `tensor`. It raises JobError if the file is damaged or has no such tensor."""

    def locate(file: BinaryIO, name: str) -> ArrayPlace:
        tensors = read_safetensors_header(file, name).tensors
        if tensor not in tensors:
            shown = ", ".join(list(tensors)[:_NAMES_SHOWN]) or "nothing"
            raise JobError(f"{name}: holds no tensor `{tensor}`; it holds {shown}")
        entry = tensors[tensor]
        return ArrayPlace(entry.start, entry.shape, _ELEMENTS.get(entry.dtype, entry.dtype), alone=False)

    return locate
