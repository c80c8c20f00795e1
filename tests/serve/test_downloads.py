from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from scope_batch.serve.downloads import BLOCK_BYTES, ContentResponse, file_content, raw_content, video_shape
from scope_batch.serve.problem_documents import HttpProblem
from tests.serve.conftest import Call

FRAMES = np.random.default_rng(1).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)
RAW = struct.pack("<5I", 4, *FRAMES.shape) + FRAMES.tobytes()


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    np.save(tmp_path / "out.npy", FRAMES)
    return tmp_path / "out.npy"


def get(call: Call, npy: Path, method: str = "GET", **headers: str) -> httpx.Response:
    return call(
        ContentResponse(raw_content(npy)), method, "/", headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def test_raw_frames_follow_the_20_byte_header(call: Call, npy: Path) -> None:
    answer = get(call, npy)
    assert (answer.status_code, answer.content) == (200, RAW)
    shape = [int(answer.headers[f"X-Video-{name}"]) for name in ("Frames", "Height", "Width", "Channels")]
    assert np.array_equal(np.frombuffer(answer.content[20:], np.uint8).reshape(shape), FRAMES)


def test_a_video_of_many_blocks_arrives_whole(call: Call, tmp_path: Path) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (3, 512, 832, 3), dtype=np.uint8)
    np.save(tmp_path / "long.npy", frames)
    assert frames.nbytes > 3 * BLOCK_BYTES
    assert get(call, tmp_path / "long.npy").content[20:] == frames.tobytes()


def test_a_file_is_sent_as_it_is(call: Call, npy: Path) -> None:
    answer = call(ContentResponse(file_content(npy, "video/mp4")), "GET", "/")
    assert (answer.content, answer.headers["content-type"]) == (npy.read_bytes(), "video/mp4")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, len(RAW)),
        ("bytes=0-0", 0, 1),
        ("bytes=0-19", 0, 20),
        ("bytes=7-40", 7, 41),
        ("bytes=20-", 20, len(RAW)),
        ("bytes=100-199", 100, 200),
        ("bytes=-10", len(RAW) - 10, len(RAW)),
        (f"bytes=100-{len(RAW) * 9}", 100, len(RAW)),
    ],
)
def test_a_range_is_answered_with_these_bytes(asked: str, start: int, end: int, call: Call, npy: Path) -> None:
    answer = get(call, npy, Range=asked)
    assert (answer.status_code, answer.content) == (206, RAW[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(RAW)}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=-", "bytes=9-5", "frames=0-1", "bytes=x-", "bytes=" + "9" * 99 + "-"]
)
def test_what_is_not_one_range_is_answered_with_the_whole(asked: str, call: Call, npy: Path) -> None:
    answer = get(call, npy, Range=asked)
    assert (answer.status_code, answer.content) == (200, RAW)


@pytest.mark.parametrize("asked", [f"bytes={len(RAW)}-", "bytes=-0", "bytes=999999999-"])
def test_a_range_behind_the_end_gets_416(asked: str, call: Call, npy: Path) -> None:
    answer = get(call, npy, Range=asked)
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(RAW)}")


def test_a_range_of_another_version_gets_the_whole(call: Call, npy: Path) -> None:
    tag = get(call, npy).headers["etag"]
    assert get(call, npy, Range="bytes=5-9", If_Range=tag).content == RAW[5:10]
    np.save(npy, FRAMES[:3])
    assert get(call, npy, Range="bytes=5-9", If_Range=tag).status_code == 200


def test_head_sends_the_headers_only(call: Call, npy: Path) -> None:
    answer = get(call, npy, "HEAD")
    assert (answer.content, int(answer.headers["content-length"])) == (b"", len(RAW))


def test_downloads_keep_the_file(call: Call, npy: Path) -> None:
    assert get(call, npy, Range="bytes=0-9").status_code == 206
    assert get(call, npy, "HEAD").status_code == 200
    assert get(call, npy).content == get(call, npy).content == RAW


def test_a_missing_file_is_404(call: Call, npy: Path) -> None:
    content = raw_content(npy)
    npy.unlink()
    assert call(ContentResponse(content), "GET", "/").status_code == 404
    for look in (raw_content, video_shape, lambda path: file_content(path, "video/mp4")):
        with pytest.raises(HttpProblem, match="gone"):
            look(npy)


def test_a_file_that_is_deleted_meanwhile_arrives_whole(npy: Path) -> None:
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        npy.unlink(missing_ok=True)
        sent.append(message.get("body", b""))

    serve(ContentResponse(raw_content(npy)), send)
    assert b"".join(sent) == RAW


def test_a_client_that_hangs_up_stops_the_reading(tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.zeros((30, 512, 832, 3), np.uint8))
    bodies: list[int] = []

    async def send(message: Any) -> None:
        bodies.append(len(message.get("body", b"")))
        await asyncio.sleep(0)

    serve(ContentResponse(raw_content(tmp_path / "long.npy")), send, gone=True)
    assert sum(bodies) <= 2 * BLOCK_BYTES


@pytest.mark.parametrize("gone", [False, True])
def test_the_file_is_closed_however_the_answer_ends(gone: bool, npy: Path) -> None:
    async def fail(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("broken pipe")

    before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(OSError, match="broken pipe"):
        serve(ContentResponse(raw_content(npy)), fail, gone=gone)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def serve(response: ContentResponse, send: Any, *, gone: bool = False) -> None:
    async def receive() -> dict[str, Any]:
        if not gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    asyncio.run(response({"type": "http", "method": "GET", "headers": []}, receive, send))
