"""Raw frames as one NPY array, which a reader can follow while it grows."""

from __future__ import annotations

import os
from pathlib import Path

from scope_batch.core.file_size import NPY_HEADER_BYTES, npy_bytes
from scope_batch.errors import OutputError
from scope_batch.sinks.npy_stream import npy_header
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
    """uint8 [T, H, W, 3]. A partial's header says the frames that it holds."""

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
