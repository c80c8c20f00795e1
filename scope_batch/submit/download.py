"""Fetches the frames of a job that is done, piece by piece, and checks every byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scope_batch.core.frames import Frames
from scope_batch.core.plan import Delivery
from scope_batch.errors import JobError, TemporaryError
from scope_batch.sinks.npy import npy_header
from scope_batch.submit.connection import LostError, Patience, Server

BLOCK_BYTES = 16 << 20
"""About so many bytes of frames are handed on at once."""


@dataclass(frozen=True, slots=True)
class Received:
    """Frames that came from a server; a `Generated`."""

    block: Frames

    def frames(self) -> Frames:
        return self.block

    def latents(self) -> None:
        return None


def fetch_frames(server: Server, result: dict[str, Any], delivery: Delivery) -> Iterator[Received]:
    """Yield all frames of a result, in blocks. Raises JobError if they are not those of the job, TemporaryError if they
    were damaged on the way, LostError when the server is gone."""
    header = npy_header(delivery.frames, delivery.height, delivery.width)
    frame_bytes = delivery.height * delivery.width * 3
    block_bytes = max(1, BLOCK_BYTES // frame_bytes) * frame_bytes
    wanted = len(header)
    pending = bytearray()
    for piece in _pieces(server, result):
        pending += piece
        if wanted == len(header) and len(pending) >= wanted:
            if pending[:wanted] != header:
                raise JobError(f"{server.url}: the video is not the one of this job; frames or size differ")
            del pending[:wanted]
            wanted = block_bytes
        while wanted == block_bytes and len(pending) >= wanted:
            yield _received(pending[:wanted], delivery)
            del pending[:wanted]
    if pending:
        yield _received(pending, delivery)


def _received(data: bytearray, delivery: Delivery) -> Received:
    frames = np.frombuffer(bytes(data), np.uint8).reshape(-1, delivery.height, delivery.width, 3)
    return Received(frames)


def _pieces(server: Server, result: dict[str, Any]) -> Iterator[bytes]:
    """Yield the bytes of the array; after a lost connection the rest of them is asked for."""
    size, digest, tag = int(result["size_bytes"]), hashlib.sha256(), ""
    position, patience = 0, Patience(server)
    while position < size:
        headers = {"Accept-Encoding": "identity"}
        if position:
            headers |= {"Range": f"bytes={position}-", "If-Range": tag}
        try:
            params = {"path": str(result["output_path"]), "format": "npy"}
            with server.stream("/api/v1/batch/download", headers, params) as answer:
                if position and answer.status_code != 206:
                    raise TemporaryError(f"{server.url}: the video was replaced while it was fetched")
                tag = answer.headers.get("ETag", "")
                for piece in answer.iter_raw():
                    position += len(piece)
                    digest.update(piece)
                    patience.begin_anew()
                    yield piece
            if position < size:
                raise LostError(f"{server.url}: the download broke off")
        except LostError as error:
            patience.wait(error)
    if position != size or digest.hexdigest() != result["sha256"]:
        raise TemporaryError(f"{server.url}: the video was damaged on the way")
