from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request

from scope_batch.errors import JobError, OutputError
from scope_batch.media.open import open_source
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.uploads import UploadLimits, Uploads
from tests.serve.bodies import GONE, SHAPE, STALLED, VIDEO, request_of

LIMITS = UploadLimits(video_bytes=100_000, data_bytes=1000, read_timeout_s=60)


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", LIMITS)


def files(tmp_path: Path) -> list[Path]:
    return [*(tmp_path / "uploads").iterdir()]


def send_data(uploads: Uploads, *parts: bytes | str, **headers: str) -> tuple[str, int]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(uploads.receive_data(request_of(parts, names)))


def send_video(uploads: Uploads, *parts: bytes | str, **headers: str) -> tuple[str, tuple[int, ...]]:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(uploads.receive_video(request_of(parts, {**SHAPE, **changed})))


def test_a_video_is_read_back_frame_by_frame(uploads: Uploads) -> None:
    body = VIDEO.tobytes()
    handle, shape = send_video(uploads, body[:100], body[100:])
    assert shape == VIDEO.shape
    source = open_source(uploads.path_of(handle, "video"))
    assert all(np.array_equal(source.frame(index), VIDEO[index]) for index in range(3))
    source.close()


def test_data_is_stored_as_it_came(uploads: Uploads) -> None:
    handle, size = send_data(uploads, b"abc", b"", b"def")
    assert (uploads.path_of(handle, "data").read_bytes(), size) == (b"abcdef", 6)


def test_blocks_are_written_while_the_rest_is_on_its_way(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", UploadLimits(data_bytes=10 << 20))
    written: list[int] = []

    def parts() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(1 << 16)
            written.append(sum(path.stat().st_size for path in files(tmp_path)))

    async def receive() -> dict[str, Any]:
        part = next(body, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    body = parts()
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
    assert asyncio.run(uploads.receive_data(request))[1] == 4 << 20
    assert max((index + 1) * (1 << 16) - size for index, size in enumerate(written)) <= 1 << 20


def test_a_finished_upload_cannot_be_written(uploads: Uploads) -> None:
    handle, _ = send_data(uploads, b"abc")
    assert uploads.path_of(handle, "data").stat().st_mode & 0o777 == 0o400


def test_handles_are_random(uploads: Uploads) -> None:
    assert len({send_data(uploads, b"abc")[0] for _ in range(5)}) == 5


@pytest.mark.parametrize(
    "digest", [hashlib.sha256(b"abcdef").hexdigest(), hashlib.sha256(b"abcdef").hexdigest().upper()]
)
def test_the_right_checksum_passes(digest: str, uploads: Uploads) -> None:
    assert send_data(uploads, b"abc", b"def", X_SHA256=digest)[1] == 6


REFUSED_DATA: list[tuple[list[bytes | str], dict[str, str], int]] = [
    ([b"abc"], {"X_SHA256": hashlib.sha256(b"abd").hexdigest()}, 422),
    ([b"abc"], {"X_SHA256": "abc"}, 400),
    ([], {}, 400),
    ([b"x" * 600, b"x" * 401], {}, 413),
    ([b"x"], {"Content_Length": "1001"}, 413),
    ([b"x"], {"Content_Length": "-1"}, 400),
    ([b"x"], {"Content_Length": "9" * 5000}, 400),
    ([b"x" * 100, GONE], {}, 400),
    ([GONE], {}, 400),
]
REFUSED_VIDEO: list[tuple[list[bytes | str], dict[str, str], int]] = [
    ([b"x" * 1151], {}, 400),
    ([b"x" * 1153], {}, 400),
    ([b"x" * 1152], {"Content_Length": "1151"}, 400),
    ([b"x" * 600, GONE], {}, 400),
    ([b"x"], {"X_Video_Frames": "100", "X_Video_Height": "1000"}, 413),
    ([b"x"], {"X_Video_Frames": "4000000000", "X_Video_Height": "4000000000", "X_Video_Width": "4000000000"}, 413),
    *(
        ([VIDEO.tobytes()], {"X_Video_Frames": text}, 400)
        for text in ("", "0", "-3", "+3", "3.0", "5e9", "1_0", " 3", "03", "x", "4294967296", "9" * 5000, "٣")
    ),
    ([VIDEO.tobytes()], {"X_Video_Channels": "4"}, 400),
    ([VIDEO.tobytes()], {"X_Video_Channels": "0"}, 400),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "headers", "status"), REFUSED_DATA)
def test_refused_data_leaves_no_file(
    parts: list[bytes | str], headers: dict[str, str], status: int, uploads: Uploads, tmp_path: Path
) -> None:
    with pytest.raises(HttpProblem) as caught:
        send_data(uploads, *parts, **headers)
    assert (caught.value.status, files(tmp_path)) == (status, [])


@pytest.mark.parametrize(("parts", "headers", "status"), REFUSED_VIDEO, ids=lambda value: str(value)[:30])
def test_a_refused_video_leaves_no_file(
    parts: list[bytes | str], headers: dict[str, str], status: int, uploads: Uploads, tmp_path: Path
) -> None:
    with pytest.raises(HttpProblem) as caught:
        send_video(uploads, *parts, **headers)
    assert (caught.value.status, files(tmp_path)) == (status, [])


@pytest.mark.parametrize("name", SHAPE)
def test_a_missing_header_is_named(name: str, uploads: Uploads) -> None:
    headers = {header: value for header, value in SHAPE.items() if header != name}
    with pytest.raises(HttpProblem, match=name):
        asyncio.run(uploads.receive_video(request_of([VIDEO.tobytes()], headers)))


@pytest.mark.parametrize("parts", [[STALLED], [b"abc", STALLED]])
def test_a_client_that_stalls_gets_408_and_leaves_no_file(parts: list[bytes | str], tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", UploadLimits(read_timeout_s=0.01))
    with pytest.raises(HttpProblem) as caught:
        send_data(uploads, *parts)
    assert (caught.value.status, files(tmp_path)) == (408, [])


def test_a_request_that_is_cancelled_leaves_no_file(uploads: Uploads, tmp_path: Path) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(uploads.receive_data(request_of([b"abc", STALLED], {})))
        while not files(tmp_path):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert files(tmp_path) == []


def test_a_full_disk_leaves_no_file(uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("scope_batch.serve.uploads._write_all", full)
    with pytest.raises(OutputError, match="No space left"):
        send_data(uploads, b"abc")
    assert files(tmp_path) == []


def test_half_received_files_of_a_killed_server_go(uploads: Uploads, tmp_path: Path) -> None:
    handle, _ = send_data(uploads, b"abc")
    (tmp_path / "uploads" / f"data-{'0' * 32}.part").write_bytes(b"half")
    again = Uploads(tmp_path / "uploads", LIMITS)
    assert files(tmp_path) == [again.path_of(handle, "data")]


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "x",
        "/etc/passwd",
        "../x",
        "video-" + "0" * 32,
        "data-" + "0" * 32,
        "data-" + "0" * 31,
        "data-" + "0" * 32 + "\n",
    ],
)
def test_a_handle_of_nobody_is_refused(handle: str, uploads: Uploads) -> None:
    with pytest.raises(JobError, match=r"handle|expired"):
        uploads.path_of(handle, "data")


def test_uploads_expire_unless_a_job_uses_them(uploads: Uploads) -> None:
    old, used, young = (uploads.path_of(send_data(uploads, b"abc")[0], "data") for _ in range(3))
    for path in (old, used):
        os.utime(path, (0, 0))
    assert uploads.expire(3600, is_used=lambda path: path == used) == [old]
    assert (old.exists(), used.exists(), young.exists()) == (False, True, True)


@pytest.fixture
def small(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", UploadLimits(all_bytes=10))


@pytest.mark.parametrize("headers", [{}, {"Content_Length": "4"}])
def test_all_uploads_together_have_a_limit(headers: dict[str, str], small: Uploads, tmp_path: Path) -> None:
    send_data(small, b"abcdefg")
    with pytest.raises(HttpProblem, match="--max-uploads") as caught:
        send_data(small, b"ab", b"cd", **headers)
    assert caught.value.status == 507
    assert len(uploaded(tmp_path)) == 1
    send_data(small, b"abc")
    small.expire(-1)
    send_data(small, b"abcdefghij")


def test_uploads_that_arrive_side_by_side_share_the_limit(small: Uploads, tmp_path: Path) -> None:
    async def send_both() -> list[Any]:
        bodies = (request_of([b"abcdef"], {"Content-Length": "6"}) for _ in range(2))
        return await asyncio.gather(*map(small.receive_data, bodies), return_exceptions=True)

    results = asyncio.run(send_both())
    assert sum(isinstance(result, HttpProblem) for result in results) == 1
    assert len(uploaded(tmp_path)) == 1


def test_an_upload_that_stands_in_a_set_counts_once(small: Uploads) -> None:
    handle, _ = asyncio.run(small.receive_file(request_of([b"abcdefg"], {})))
    small.sets.create({"a": small.path_of(handle, "file"), "b": small.path_of(handle, "file")})
    send_data(small, b"abc")


def uploaded(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "uploads").iterdir() if path.is_file()]


@pytest.mark.parametrize("name", ["video-0.bin", "sets/set-0"])
def test_a_file_that_goes_while_old_ones_are_removed_is_no_error(name: str, tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, UploadLimits())
    old = tmp_path / "file-0.bin"
    old.touch()
    (tmp_path / "sets").mkdir()
    (tmp_path / name).symlink_to("gone")
    assert uploads.expire(-1) == [old]
