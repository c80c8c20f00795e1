"""The denoised latents of every chunk as one safetensors file, written as they come."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from scope_batch import laws
from scope_batch.chunk import Chunk, Plan
from scope_batch.errors import OutputError
from scope_batch.sinks.npy import bytes_of, write_all
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import Block, FileSink

_LENGTH_BYTES = 8
_FLOAT_BYTES = 4


class LatentsSink(FileSink):
    """Tensors `chunk_00000` ... float32 [F, 16, H/8, W/8], un-trimmed; each `write` is one chunk.

    The shapes are known from the plan, so the header goes first; a partial's header names the chunks that it holds.
    Its metadata are JSON lists with an item per chunk: first_frame, keep, cut (the reason or null).
    """

    def __init__(self, path: Path, plan: Plan, publication: Publication) -> None:
        super().__init__(path, sum(chunk.latents for chunk in plan.chunks), publication)
        self._plan = plan
        self._header_bytes = len(self._header(len(plan.chunks)))
        self._chunks = 0

    def _open(self, fd: int, file: Path) -> None:  # noqa: ARG002  (each kind of sink needs one of them)
        write_all(fd, self._framed(len(self._plan.chunks)))

    def _write(self, block: Block) -> None:
        expected = self._shape(self._plan.chunks[self._chunks])
        if block.dtype != np.float32 or list(block.shape) != expected:
            found = f"{block.dtype} {list(block.shape)}"
            raise OutputError(f"{self.path}: chunk {self._chunks} has latents {found}, expected float32 {expected}")
        write_all(self._fd, bytes_of(np.ascontiguousarray(block)))
        self._chunks += 1

    def _finish(self) -> None:
        if self._chunks != len(self._plan.chunks):
            os.pwrite(self._fd, self._framed(self._chunks), 0)

    def _verify(self, file: Path) -> None:
        header = self._framed(self._chunks)
        data = sum(self._bytes(chunk) for chunk in self._plan.chunks[: self._chunks])
        with file.open("rb") as opened:
            whole = opened.read(len(header)) == header and opened.seek(0, os.SEEK_END) == len(header) + data
        if not whole:
            raise OutputError(f"{self.path}: does not hold the latents of {self._chunks} chunks")

    def _framed(self, chunks: int) -> bytes:
        """Length and header, padded with spaces to the length that all chunks need (a multiple of 8)."""
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

    @staticmethod
    def _metadata(chunks: tuple[Chunk, ...]) -> dict[str, str]:
        return {
            "first_frame": json.dumps([chunk.first_frame for chunk in chunks]),
            "keep": json.dumps([chunk.keep for chunk in chunks]),
            "cut": json.dumps([chunk.cut_reason for chunk in chunks]),
        }

    def _shape(self, chunk: Chunk) -> list[int]:
        stride = laws.SPACE_STRIDE
        return [chunk.latents, laws.LATENT_CHANNELS, self._plan.height // stride, self._plan.width // stride]

    def _bytes(self, chunk: Chunk) -> int:
        return int(np.prod(self._shape(chunk))) * _FLOAT_BYTES
