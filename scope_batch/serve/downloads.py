"""Sends finished videos from disk, whole or in ranges: raw frames as the protocol has them, or the file as it is."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scope_batch.errors import JobError
from scope_batch.media.arrays import BIN_HEADER, locate_npy
from scope_batch.serve.problem_documents import HttpProblem, response_of

Format = Literal["raw", "npy", "mp4"]
BLOCK_BYTES = 1 << 20
SHEET_COLUMNS, SHEET_CELL_PIXELS = 4, 320
PREVIEW_PIXELS = 640
"""Longest side of a preview."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_GONE = "the file is gone: it was deleted, or has expired"


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes `prefix` and those of a file from `offset` on, `size` in all."""

    path: Path
    prefix: bytes
    offset: int
    size: int
    media_type: str
    headers: Mapping[str, str]


def video_shape(npy: Path) -> tuple[int, int, int, int]:
    """Return [T, H, W, C] of a finished or partial array. Raises HttpProblem if the file is gone or not whole."""
    return _located(npy)[1]


def raw_content(npy: Path) -> Content:
    """Return the frames as the protocol has them: a header of 20 bytes, then uint8 [T, H, W, C]."""
    offset, shape = _located(npy)
    names = ("Frames", "Height", "Width", "Channels")
    headers = {f"X-Video-{name}": str(size) for name, size in zip(names, shape, strict=True)}
    prefix = BIN_HEADER.pack(len(shape), *shape)
    return Content(npy, prefix, offset, len(prefix) + prod(shape), "application/octet-stream", headers)


def output_content(outputs: Sequence[str], wanted: Format) -> Content:
    """Return one of the outputs of a job. Raises HttpProblem (404) if it is not among them, or gone."""
    suffix = ".mp4" if wanted == "mp4" else ".npy"
    path = next((Path(path) for path in outputs if path.endswith(suffix)), None)
    if path is None:
        raise HttpProblem(HTTPStatus.NOT_FOUND, "path: there is no such output, or no longer")
    if wanted == "raw":
        return raw_content(path)
    return file_content(path, "video/mp4" if wanted == "mp4" else "application/octet-stream")


def file_content(path: Path, media_type: str) -> Content:
    """Return a file as it is. Raises HttpProblem if it is gone."""
    try:
        size = path.stat().st_size
    except OSError:
        raise HttpProblem(HTTPStatus.NOT_FOUND, _GONE) from None
    return Content(path, b"", 0, size, media_type, {"Content-Disposition": f'inline; filename="{path.name}"'})


def preview_jpeg(path: Path) -> bytes:
    """Return a picture of this server as a JPEG of at most 640 x 640 pixels. Raises HttpProblem if there is none."""
    data = BytesIO()
    try:
        with Image.open(path) as picture:
            picture.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
            picture.convert("RGB").save(data, "JPEG", quality=85)
    except OSError:
        raise HttpProblem(HTTPStatus.NOT_FOUND, "the job has no preview yet, or no longer") from None
    return data.getvalue()


def contact_sheet(npy: Path, pictures: int) -> bytes:
    """Return a JPEG of so many frames of an array, evenly spaced and in rows. Raises HttpProblem if it is gone."""
    offset, (count, height, width, _) = _located(npy)
    frames = np.memmap(npy, np.uint8, "r", offset, (count, height, width, 3))
    chosen = sorted({(2 * index + 1) * count // (2 * pictures) for index in range(pictures)})
    scale = min(1.0, SHEET_CELL_PIXELS / max(height, width)) if pictures > 1 else 1.0
    cell = max(1, round(width * scale)), max(1, round(height * scale))
    columns = min(SHEET_COLUMNS, len(chosen))
    sheet = Image.new("RGB", (columns * cell[0], -(-len(chosen) // columns) * cell[1]))
    for index, frame in enumerate(chosen):
        place = index % columns * cell[0], index // columns * cell[1]
        sheet.paste(Image.fromarray(frames[frame]).resize(cell), place)
    data = BytesIO()
    sheet.save(data, "JPEG", quality=90)
    return data.getvalue()


class ContentResponse(Response):
    """Answers GET and HEAD with the content, or the one range of it that the request asks for.

    The file is opened when the answer starts and closed when it ends, however it ends; a client that hangs up stops the
    reading. Several ranges at once are answered with the whole, as RFC 9110 allows.
    """

    def __init__(self, content: Content) -> None:
        super().__init__(media_type=content.media_type)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            file = os.open(self._content.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            await response_of(HttpProblem(HTTPStatus.NOT_FOUND, _GONE))(scope, receive, send)
            return
        gone = asyncio.create_task(hang_up(receive))
        try:
            status = os.fstat(file)
            tag = f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
            part = _wanted(Headers(scope=scope), tag, self._content.size)
            start, end = part or (0, self._content.size)
            await send(self._start(start, end, tag, is_part=part is not None))
            if scope["method"] != "HEAD":
                await self._send_bytes(file, start, end, gone, send)
            await send({"type": "http.response.body", "body": b""})
        except HttpProblem as problem:
            await response_of(problem)(scope, receive, send)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
            os.close(file)

    def _start(self, start: int, end: int, tag: str, *, is_part: bool) -> dict[str, object]:
        content = self._content
        headers = {
            **content.headers,
            "Content-Type": content.media_type,
            "Content-Length": str(end - start),
            "Accept-Ranges": "bytes",
            "ETag": tag,
            "X-Content-Type-Options": "nosniff",
        }
        if is_part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 206 if is_part else 200, "headers": raw}

    async def _send_bytes(self, file: int, start: int, end: int, gone: asyncio.Task[None], send: Send) -> None:
        prefix = self._content.prefix
        while start < end and not gone.done():
            if start < len(prefix):
                block = prefix[start:end]
            else:
                place = start - len(prefix) + self._content.offset
                block = await run_in_threadpool(os.pread, file, min(BLOCK_BYTES, end - start), place)
            if not block:
                raise RuntimeError(f"{self._content.path}: is shorter than it was")
            start += len(block)
            await send({"type": "http.response.body", "body": block, "more_body": True})


async def hang_up(receive: Receive) -> None:
    """Return when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _wanted(headers: Headers, tag: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of the range that is asked for, and the one after its last; None for the whole.

    Raises HttpProblem (416) for a range behind the end.
    """
    match = _RANGE.fullmatch(headers.get("range", ""))
    if match is None or not (match[1] or match[2]) or headers.get("if-range", tag) != tag:
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
        if match[2] and int(match[2]) < start:
            return None  # not a range, so it is ignored
    if start >= end:
        raise HttpProblem(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"the file has {size} bytes",
            {"Content-Range": f"bytes */{size}"},
        )
    return start, end


def _located(npy: Path) -> tuple[int, tuple[int, int, int, int]]:
    try:
        with npy.open("rb") as file:
            place = locate_npy(file, npy.name)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        raise HttpProblem(HTTPStatus.NOT_FOUND, _GONE) from None
    if place.element != "uint8" or len(place.shape) != 4 or size < place.start + place.bytes:
        raise JobError(f"{npy.name}: is not a whole video")
    frames, height, width, channels = place.shape
    return place.start, (frames, height, width, channels)
