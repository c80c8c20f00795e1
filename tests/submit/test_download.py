"""Frames that come in pieces, break off, and are checked."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest

from scope_batch.core.plan import Delivery
from scope_batch.errors import JobError, TemporaryError
from scope_batch.sinks.npy import npy_header
from scope_batch.submit import download
from scope_batch.submit.connection import LostError, Server
from scope_batch.submit.download import fetch_frames
from tests.submit.answers import Broken, refused, server

FRAMES = np.random.default_rng(5).integers(0, 256, (7, 16, 32, 3), np.uint8)
DATA = npy_header(7, 16, 32) + FRAMES.tobytes()
RESULT: dict[str, Any] = {
    "output_path": "output-1", "size_bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest(),
}  # fmt: skip
DELIVERY = Delivery(7, Fraction(16), 16, 32)


def whole(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(DATA), headers={"ETag": '"1"'})


def breaks_at(position: int) -> Any:
    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        status = 206 if start else 200
        return httpx.Response(status, stream=Broken(DATA[start:position]), headers={"ETag": '"1"'})

    return answer


def rest(request: httpx.Request) -> httpx.Response:
    start = int(request.headers["range"][6:-1])
    return httpx.Response(206, stream=httpx.ByteStream(DATA[start:]), headers={"ETag": '"1"'})


def fetched(made: Server) -> np.ndarray[Any, Any]:
    return np.concatenate([received.frames() for received in fetch_frames(made, RESULT, DELIVERY)])


@pytest.mark.parametrize("block_bytes", [1, 16 * 32 * 3 * 2, 1 << 20], ids=["frame", "two", "all"])
def test_frames_come_in_blocks_of_whole_frames(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BLOCK_BYTES", block_bytes)
    assert np.array_equal(fetched(server(whole)[0]), FRAMES)


@pytest.mark.parametrize("position", [1, 127, 128, 129, 5000, len(DATA) - 1])
def test_a_download_that_broke_off_is_continued_by_range(position: int) -> None:
    made, requests, _ = server(breaks_at(position), refused, rest)
    assert np.array_equal(fetched(made), FRAMES)
    assert (requests[-1].headers["range"], requests[-1].headers["if-range"]) == (f"bytes={position}-", '"1"')


def test_it_may_break_off_again_and_again() -> None:
    made, _, time = server(*[breaks_at(position) for position in range(1000, len(DATA), 1000)], rest)
    assert np.array_equal(fetched(made), FRAMES)
    assert set(time.pauses) == {0.5}


def test_a_server_that_does_not_come_back() -> None:
    with pytest.raises(LostError):
        fetched(server(breaks_at(3000), refused)[0])


def test_a_damaged_byte_is_noticed() -> None:
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    with pytest.raises(TemporaryError, match="damaged"):
        fetched(server(lambda _: httpx.Response(200, stream=httpx.ByteStream(bytes(damaged))))[0])


def test_a_file_that_was_replaced_is_not_mixed() -> None:
    with pytest.raises(TemporaryError, match="replaced"):
        fetched(server(breaks_at(3000), whole)[0])


def test_another_video_is_refused() -> None:
    data = BytesIO()
    np.save(data, FRAMES[:6])
    stream = httpx.ByteStream(data.getvalue().ljust(len(DATA)))
    with pytest.raises(JobError, match="is not the one of this job"):
        fetched(server(lambda _: httpx.Response(200, stream=stream))[0])
