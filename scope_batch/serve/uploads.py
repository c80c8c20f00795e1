"""Receives uploads into files of the state directory, block by block, and keeps them under random handles."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Literal, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request

from scope_batch.errors import JobError, OutputError
from scope_batch.media.arrays import BIN_HEADER
from scope_batch.serve.bodies import body_parts
from scope_batch.serve.file_sets import FileSets
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.upload_room import UploadRoom

Kind = Literal["video", "data", "file"]
_T = TypeVar("_T")
BLOCK_BYTES = 1 << 20
_HANDLE = re.compile(r"(video|data|file)-[0-9a-f]{32}")
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bytes of one upload, bytes of all that are kept, and the longest wait for the next bytes of one."""

    video_bytes: int = 16 << 30
    file_bytes: int = 16 << 30
    data_bytes: int = 2 << 30
    all_bytes: int = 64 << 30
    read_timeout_s: float = 60.0


@dataclass(slots=True)
class Incoming:
    """A file that is being received into `part`, and becomes `target` when it is complete.

    room  counts the bytes so far.
    """

    handle: str
    part: Path
    target: Path
    file: int
    limit: int
    room: UploadRoom
    received: int = 0
    block: bytearray = field(default_factory=bytearray)

    async def write(self, data: bytes) -> None:
        """Add data. Raises HttpProblem if the file, or all uploads together, get too long."""
        self.received += len(data)
        _check_limit(self.received, self.limit)
        self.room.claim(self.part, self.received)
        self.block += data
        if len(self.block) >= BLOCK_BYTES:
            block, self.block = self.block, bytearray()
            await _in_thread(_write_all, self.file, block)

    async def complete(self) -> str:
        """Return the handle of the file, which nothing can change from now on."""
        await _in_thread(_write_all, self.file, self.block)
        await _in_thread(self._complete)
        return self.handle

    def _complete(self) -> None:
        os.fchmod(self.file, 0o400)
        os.fsync(self.file)
        self.part.rename(self.target)
        self.room.keep(self.part, self.target)


class Uploads:
    """Files that clients sent. A file is complete and unchangeable from the moment its handle is known.

    An upload that is cut off, stalls, is too long or too short, or has another checksum leaves no file.
    """

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        """Create the folder if need be, and remove what a killed server left half-received."""
        self._folder, self._limits = folder, limits
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in folder.glob("*.part"):
            part.unlink()
        self.sets = FileSets(folder / "sets")
        self._room = UploadRoom(folder, limits.all_bytes)

    async def receive_video(self, request: Request) -> tuple[str, tuple[int, int, int, int]]:
        """Store raw uint8 frames [T, H, W, 3] shaped as the X-Video headers say. Returns the handle and the shape."""
        shape = _shape(request.headers)
        size = shape[0] * shape[1] * shape[2] * shape[3]
        _check_limit(size, self._limits.video_bytes)
        handle, _ = await self._store("video", request, BIN_HEADER.pack(len(shape), *shape), size, size)
        return handle, shape

    async def receive_data(self, request: Request) -> tuple[str, int]:
        """Store a body of any content. Returns the handle and the bytes."""
        return await self._store("data", request, b"", None, self._limits.data_bytes)

    async def receive_file(self, request: Request) -> tuple[str, int]:
        """Store a file of any kind, an input of a submitted job. Returns the handle and the bytes."""
        return await self._store("file", request, b"", None, self._limits.file_bytes)

    @asynccontextmanager
    async def receiving(self, kind: Kind, limit: int, size: int = 0) -> AsyncIterator[Incoming]:
        """Make a file that is removed at the end unless it was completed; it has `limit` bytes at most.

        size  at least so many bytes will come, and count among all uploads from now on.
        """
        handle = f"{kind}-{secrets.token_hex(16)}"
        part = self._file(handle).with_suffix(".part")
        try:
            self._room.claim(part, size)
            file = await _in_thread(_create, part)
            try:
                yield Incoming(handle, part, self._file(handle), file, limit, self._room)
            finally:
                await _in_thread(os.close, file)
        except OSError as error:
            raise OutputError(f"{part}: cannot be written: {error.strerror}") from error
        finally:
            self._room.release(part)
            await _in_thread(part.unlink, True)

    @property
    def file_bytes(self) -> int:
        """The most bytes of one file."""
        return self._limits.file_bytes

    def path_of(self, handle: str, kind: Kind) -> Path:
        """Return the file of a handle. Raises JobError unless this server gave it out and still has the file."""
        if not (_HANDLE.fullmatch(handle) and handle.startswith(f"{kind}-")):
            raise JobError(f"is no handle of an uploaded {kind} file")
        path = self._file(handle)
        if not path.is_file():
            raise JobError("is unknown to this server, or has expired: upload it again")
        return path

    def expire(self, keep_s: float, is_used: Callable[[Path], bool] = lambda _: False) -> list[Path]:
        """Remove the files that are older than `keep_s` seconds and not used; returns what was removed."""
        oldest = time.time() - keep_s
        old = []
        for path in self._folder.glob("*.bin"):
            with suppress(FileNotFoundError):  # somebody else has just removed it
                if path.stat().st_mtime < oldest and not is_used(path):
                    path.unlink()
                    old.append(path)
        self.sets.expire(keep_s, is_used)
        self._room.count()
        return old

    def make_asset(self, handle: str, publish: Callable[[Path], Path]) -> None:
        """Remove an upload after `publish` has copied it to the assets and returned the copy, which counts from then
        on. Raises what `publish` raises."""
        source = self.path_of(handle, "data")
        try:
            self._room.keep_asset(publish(source))
        finally:
            self._room.remove(source)

    def _file(self, handle: str) -> Path:
        return self._folder / f"{handle}.bin"

    async def _store(
        self, kind: Kind, request: Request, header: bytes, size: int | None, limit: int
    ) -> tuple[str, int]:
        """Store `header` and the body. `size`: the exact bytes of the body, if known; it has `limit` bytes at most."""
        _check_length(request.headers, size, limit)
        checksum = _checksum(request.headers)
        length = size or int(request.headers.get("content-length", 0))
        async with self.receiving(kind, limit, length) as incoming:
            incoming.block += header
            digest = await self._write(incoming, request, size, hashing=checksum is not None)
            if digest != checksum:
                raise HttpProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "the body does not have the SHA-256 of X-SHA256")
            return await incoming.complete(), incoming.received

    async def _write(self, incoming: Incoming, request: Request, size: int | None, *, hashing: bool) -> str | None:
        """Write the body, which has `size` bytes if that is known. Returns its SHA-256 if `hashing`."""
        digest = hashlib.sha256() if hashing else None
        async for data in body_parts(request, self._limits.read_timeout_s):
            if size is not None and incoming.received + len(data) > size:
                raise _wrong_size(incoming.received + len(data), size)
            await incoming.write(data)
            if digest is not None:
                digest.update(data)
        if incoming.received == 0:
            raise HttpProblem(HTTPStatus.BAD_REQUEST, "the body is empty")
        if size is not None and incoming.received < size:
            raise _wrong_size(incoming.received, size)
        return digest.hexdigest() if digest is not None else None


async def _in_thread(call: Callable[..., _T], *arguments: object) -> _T:
    """Call in a thread, to its end even if this task is cancelled meanwhile: nobody closes the file of a thread."""
    called = asyncio.ensure_future(run_in_threadpool(call, *arguments))
    try:
        return await asyncio.shield(called)
    except asyncio.CancelledError:
        await asyncio.wait([called])
        raise


def _create(part: Path) -> int:
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _write_all(file: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _shape(headers: Headers) -> tuple[int, int, int, int]:
    frames, height, width = (_number(headers, f"X-Video-{name}") for name in ("Frames", "Height", "Width"))
    channels = _number(headers, "X-Video-Channels", "3")
    if channels != 3:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, "X-Video-Channels: must be 3")
    return frames, height, width, channels


def _number(headers: Headers, name: str, default: str | None = None) -> int:
    text = headers.get(name, default)
    if text is None:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, f"{name}: the header is missing")
    if not _NUMBER.fullmatch(text) or int(text) >= 1 << 32:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, f"{name}: must be a whole number from 1 to {(1 << 32) - 1}")
    return int(text)


def _check_length(headers: Headers, size: int | None, limit: int) -> None:
    """Refuse a body by its declared length, before any of it is stored."""
    length = headers.get("content-length")
    if length is None:
        return
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise HttpProblem(HTTPStatus.BAD_REQUEST, "Content-Length: must be a number of bytes")
    if size is not None and int(length) != size:
        raise _wrong_size(int(length), size)
    _check_limit(int(length), limit)


def _check_limit(size: int, limit: int) -> None:
    if size > limit:
        raise HttpProblem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {limit} bytes are allowed")


def _wrong_size(received: int, size: int) -> HttpProblem:
    return HttpProblem(HTTPStatus.BAD_REQUEST, f"the body has {received} bytes, the X-Video headers say {size}")


def _checksum(headers: Headers) -> str | None:
    text = headers.get("X-SHA256")
    if text is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise HttpProblem(HTTPStatus.BAD_REQUEST, "X-SHA256: must be 64 hexadecimal digits")
    return text.lower() if text is not None else None
