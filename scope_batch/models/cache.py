"""Our own folder for what can be made again, and cheap names for large files. Torch-free."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs
from filelock import FileLock

from scope_batch.errors import OutputError

_MIB = 1 << 20
_SAMPLES = 16
"""Places between the first and the last MiB that the fingerprint looks at, 4 KiB each."""


def cache_folder(*parts: str) -> Path:
    """$SCOPE_BATCH_CACHE, else the platform's user cache; `parts` below it are made. Raises OutputError."""
    root = os.environ.get("SCOPE_BATCH_CACHE")
    try:
        folder = Path(root).expanduser() if root else platformdirs.user_cache_path("scope-batch", appauthor=False)
    except RuntimeError as error:
        raise OutputError(f"$SCOPE_BATCH_CACHE: {root}: there is no such user's home") from error
    folder = folder.joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        other = "SCOPE_BATCH_CACHE names another"
        raise OutputError(f"{folder}: the cache folder cannot be made: {error.strerror} ({other})") from error
    return folder


def file_fingerprint(path: Path) -> str:
    """32 hex digits that change when the file does: size, mtime, first and last MiB, samples between."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        digest = hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        for offset, length in _spots(stat.st_size):
            file.seek(offset)
            digest.update(file.read(length))
    return digest.hexdigest()[:32]


def file_sha256(path: Path) -> str:
    """The file's full sha256 (64 hex digits); computed once per fingerprint and kept in the cache folder."""
    fingerprint = file_fingerprint(path)
    with contextlib.suppress(OSError):
        if len(known := (cache_folder("sha256") / fingerprint).read_text()) == 64:
            return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError), replacing(cache_folder("sha256") / fingerprint) as out:
        out.write(digest.encode())
    return digest


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path` whole, on the disk and all at once, or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            yield out
            flush_to_disk(out)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def flush_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def lock(path: Path) -> FileLock:
    """The lock beside `path`: whoever holds it makes `path`, everybody else waits and finds it made."""
    return FileLock(path.with_name(f"{path.name}.lock"))


def _spots(size: int) -> Iterator[tuple[int, int]]:
    yield 0, _MIB
    if size > _MIB:
        yield from ((size * i // (_SAMPLES + 1), 4096) for i in range(1, _SAMPLES + 1))
        yield size - _MIB, _MIB
