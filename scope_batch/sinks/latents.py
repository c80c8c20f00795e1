"""Writes the denoised latents of all chunks to one safetensors file, chunk by chunk."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from scope_batch.core import geometry
from scope_batch.core.plan import Chunk, Plan
from scope_batch.errors import OutputError
from scope_batch.sinks.npy import bytes_of, write_all
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import Block, FileSink

_LENGTH_BYTES = 8
_FLOAT_BYTES = 4
_LARGEST_HEADER_BYTES = 100_000_000
"""The largest header that the safetensors library accepts."""


class LatentsSink(FileSink):
    """Writes tensors `chunk_00000` ... float32 [F, 16, H/8, W/8], untrimmed; each `write` takes one chunk.

    The header is written first, as the plan gives all shapes; the header of a partial file lists the chunks written.
    Its metadata are JSON lists with an item per chunk: first_frame, keep, cut (the reason or null). Unless `job` is
    None, they also hold `job` and the `sha256` of everything after the header.
    """

    def __init__(self, path: Path, plan: Plan, publication: Publication, *, job: str | None = None) -> None:
        super().__init__(path, sum(chunk.latents for chunk in plan.chunks), publication)
        self._plan = plan
        self._job = job
        self._sha256 = hashlib.sha256()
        self._header_bytes = len(self._header(len(plan.chunks)))
        self._chunks = 0

    def _open(self, fd: int, file: Path) -> None:  # noqa: ARG002  (each sink uses one of the two)
        write_all(fd, self._framed(len(self._plan.chunks)))

    def _write(self, block: Block) -> None:
        expected = self._shape(self._plan.chunks[self._chunks])
        if block.dtype != np.float32 or list(block.shape) != expected:
            actual = f"{block.dtype} {list(block.shape)}"
            raise OutputError(f"{self.path}: chunk {self._chunks} has latents {actual}, expected float32 {expected}")
        data = bytes_of(np.ascontiguousarray(block))
        write_all(self._fd, data)
        self._sha256.update(data)
        self._chunks += 1

    def _finish(self) -> None:
        os.pwrite(self._fd, self._framed(self._chunks), 0)

    def _verify(self, file: Path) -> None:
        header = self._framed(self._chunks)
        data = sum(self._bytes(chunk) for chunk in self._plan.chunks[: self._chunks])
        with file.open("rb") as opened:
            complete = opened.read(len(header)) == header and opened.seek(0, os.SEEK_END) == len(header) + data
        if not complete:
            raise OutputError(f"{self.path}: does not hold the latents of {self._chunks} chunks")

    def _framed(self, chunks: int) -> bytes:
        """Return length and header, padded with spaces to the size for all chunks (a multiple of 8 bytes)."""
        length = -(-self._header_bytes // 8) * 8
        return length.to_bytes(_LENGTH_BYTES, "little") + self._header(chunks).ljust(length)

    def _header(self, chunks: int) -> bytes:
        entries: dict[str, object] = {"__metadata__": self._metadata(self._plan.chunks[:chunks])}
        start = 0
        for chunk in self._plan.chunks[:chunks]:
            end = start + self._bytes(chunk)
            shape = self._shape(chunk)
            entries[f"chunk_{chunk.index:05d}"] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
            start = end
        return json.dumps(entries, separators=(",", ":")).encode("ascii")

    def _metadata(self, chunks: tuple[Chunk, ...]) -> dict[str, str]:
        values = {
            "first_frame": json.dumps([chunk.first_frame for chunk in chunks]),
            "keep": json.dumps([chunk.keep for chunk in chunks]),
            "cut": json.dumps([chunk.cut_reason for chunk in chunks]),
        }
        return values if self._job is None else values | {"job": self._job, "sha256": self._sha256.hexdigest()}

    def _shape(self, chunk: Chunk) -> list[int]:
        stride = geometry.SPACE_STRIDE
        return [chunk.latents, geometry.LATENT_CHANNELS, self._plan.height // stride, self._plan.width // stride]

    def _bytes(self, chunk: Chunk) -> int:
        return int(np.prod(self._shape(chunk))) * _FLOAT_BYTES


def read_latents_job(path: Path) -> str | None:
    """Return the job stored in a latents file; None if it stores none or its data do not match their sha256."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            metadata = json.loads(file.read(min(length, _LARGEST_HEADER_BYTES)))["__metadata__"]
            intact = hashlib.file_digest(file, "sha256").hexdigest() == metadata["sha256"]
            return str(metadata["job"]) if intact else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
