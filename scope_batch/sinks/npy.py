"""Writes and reads raw frames as one NPY array, which a reader can follow while it grows."""

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
    """Write every byte to a file: one call of the system takes 2 GiB at most. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def bytes_of(block: Block) -> memoryview:
    """The bytes of a C-contiguous array, not copied."""
    return block.data.cast("B")


class NpySink(FileSink):
    """uint8 [T, H, W, 3]. The header of a partial file counts the frames that it holds."""

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

    def _open(self, fd: int, file: Path) -> None:  # noqa: ARG002  (each kind of sink needs one of them)
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
    """Raises OutputError unless the file is a uint8 [frames, height, width, 3] array to the byte, as written here."""
    with path.open("rb") as file:
        header = file.read(NPY_HEADER_BYTES)
        size = file.seek(0, os.SEEK_END)
    expected = npy_bytes(frames * height * width)
    if header != npy_header(frames, height, width) or size != expected:
        raise OutputError(f"{path}: holds {size} bytes; {frames} frames of {width}x{height} are {expected}")


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
