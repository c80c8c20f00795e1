"""Frames as one NPY array that grows: the header comes first and already holds the final shape.

The header has a fixed length, so that it can be rewritten in place when fewer frames come than were meant.
`np.load` cannot read a pipe; `read_npy_stream` can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from scope_batch.core.file_size import NPY_HEADER_BYTES
from scope_batch.core.frames import Frames
from scope_batch.errors import JobError

_PREFIX = b"\x93NUMPY\x01\x00" + (NPY_HEADER_BYTES - 10).to_bytes(2, "little")


def npy_header(frames: int, height: int, width: int) -> bytes:
    """Header of a uint8 [frames, height, width, 3] array: always `NPY_HEADER_BYTES` long."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({frames}, {height}, {width}, 3), }}"
    return _PREFIX + text.encode("ascii").ljust(NPY_HEADER_BYTES - len(_PREFIX) - 1) + b"\n"


def read_npy_stream(stream: IO[bytes]) -> Iterator[Frames]:
    """Yield the frames uint8 [H, W, 3] of an NPY stream as they come, for example from `sys.stdin.buffer`.

    Raises JobError if the stream is no uint8 [T, H, W, 3] array, or ends before the last frame its header promises.
    """
    count, height, width = _read_shape(stream)
    for index in range(count):
        frame: Frames = np.empty((height, width, 3), dtype=np.uint8)
        if not _fill(stream, frame.data.cast("B")):
            raise JobError(f"the NPY stream ended after {index} of {count} frames")
        yield frame


def _read_shape(stream: IO[bytes]) -> tuple[int, int, int]:
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran_order, dtype = read(stream)
    except ValueError as error:
        raise JobError(f"the stream does not begin like an NPY array: {error}") from error
    if dtype != np.uint8 or fortran_order or len(shape) != 4 or shape[3] != 3:
        raise JobError(f"the NPY stream holds {dtype} {list(shape)}; expected uint8 [T, H, W, 3]")
    return shape[0], shape[1], shape[2]


def _fill(stream: IO[bytes], view: memoryview) -> bool:
    """Fill `view` from the stream; False if it ends before. A raw pipe gives less than asked for."""
    while view:
        piece = stream.read(len(view))
        if not piece:
            return False
        view[: len(piece)] = piece
        view = view[len(piece) :]
    return True
