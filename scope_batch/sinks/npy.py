"""Writes and reads raw frames as one NPY array, which can be read while it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from scope_batch.core.file_size import NPY_HEADER_BYTES, npy_bytes
from scope_batch.core.frames import Frames
from scope_batch.errors import JobError, OutputError
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import Block, FileSink


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all bytes to a file; one system call writes at most 2 GiB. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def bytes_of(block: Block) -> memoryview:
    """Return the bytes of a C-contiguous array without copying."""
    return block.data.cast("B")


class NpySink(FileSink):
    """Writes uint8 [T, H, W, 3]. The header of a partial file states the number of frames written."""

    def __init__(
        self,
        path: Path,
        frames: int,
        height: int,
        width: int,
        publication: Publication,
        *,
        sidecar: str | None = None,
    ) -> None:
        super().__init__(path, frames, publication, sidecar=sidecar)
        self._height = height
        self._width = width

    def _open(self, fd: int, file: Path) -> None:  # noqa: ARG002  (each sink uses one of the two)
        write_all(fd, self._header(self._expected))

    def _write(self, block: Block) -> None:
        write_all(self._fd, bytes_of(block))

    def _finish(self) -> None:
        if self.written != self._expected:
            os.pwrite(self._fd, self._header(self.written), 0)

    def _verify(self, file: Path) -> None:
        verify_npy(file, self.written, self._height, self._width)

    def _header(self, frames: int) -> bytes:
        return npy_header(frames, self._height, self._width)


def verify_npy(path: Path, frames: int, height: int, width: int) -> None:
    """Raises OutputError unless the file has the header and the size of a uint8 [frames, height, width, 3] array."""
    with path.open("rb") as file:
        header = file.read(NPY_HEADER_BYTES)
        size = file.seek(0, os.SEEK_END)
    expected = npy_bytes(frames * height * width)
    if header != npy_header(frames, height, width) or size != expected:
        raise OutputError(f"{path}: holds {size} bytes; {frames} frames of {width}x{height} are {expected}")


_PREFIX = b"\x93NUMPY\x01\x00" + (NPY_HEADER_BYTES - 10).to_bytes(2, "little")


def npy_header(frames: int, height: int, width: int) -> bytes:
    """Return the header of a uint8 [frames, height, width, 3] array, always `NPY_HEADER_BYTES` long."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({frames}, {height}, {width}, 3), }}"
    return _PREFIX + text.encode("ascii").ljust(NPY_HEADER_BYTES - len(_PREFIX) - 1) + b"\n"


def read_npy_stream(stream: IO[bytes]) -> Iterator[Frames]:
    """Yield the frames uint8 [H, W, 3] of an NPY stream as they arrive, for example from `sys.stdin.buffer`.

    Raises JobError if the stream is not a uint8 [T, H, W, 3] array or ends before the last frame of its header.
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
        raise JobError(f"the stream does not begin with an NPY header: {error}") from error
    if dtype != np.uint8 or fortran_order or len(shape) != 4 or shape[3] != 3:
        raise JobError(f"the NPY stream holds {dtype} {list(shape)}; expected uint8 [T, H, W, 3]")
    return shape[0], shape[1], shape[2]


def _fill(stream: IO[bytes], view: memoryview) -> bool:
    """Fill `view` from the stream; False if the stream ends first. One read of a pipe may return fewer bytes."""
    while view:
        piece = stream.read(len(view))
        if not piece:
            return False
        view[: len(piece)] = piece
        view = view[len(piece) :]
    return True
