"""Stores derived files in the cache folder with checksums, so that damaged ones are noticed and rebuilt. Torch-free.

A small file has its checksum in front (`write_sealed`); other files and folders have it in a second file (`seal`).
`lock` keeps two processes from building the same file. `file_fingerprint` identifies a large file by samples.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import platformdirs

from scope_batch.errors import OutputError
from scope_batch.files.access import shown

_MIB = 1 << 20
_SAMPLES = 16
"""Number of samples of 4 KiB that the fingerprint reads between the first and the last MiB."""
_PIECE_BYTES = 64 * _MIB
"""Size of the pieces of a file that are hashed in parallel."""
_DIGEST_BYTES = 32


def cache_path(*parts: str) -> Path:
    """Return the path `parts` in the cache folder: $SCOPE_BATCH_CACHE, else the platform's user cache.

    Creates nothing. Raises OutputError if $SCOPE_BATCH_CACHE names the home of an unknown user.
    """
    root = os.environ.get("SCOPE_BATCH_CACHE")
    try:
        folder = Path(root).expanduser() if root else platformdirs.user_cache_path("scope-batch", appauthor=False)
    except RuntimeError as error:
        raise OutputError(f"$SCOPE_BATCH_CACHE: {root}: there is no such user's home") from error
    return folder.joinpath(*parts)


def cache_folder(*parts: str) -> Path:
    """Return the folder `parts` of the cache, and create it if needed. Raises OutputError if that fails."""
    folder = cache_path(*parts)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the with-body, which writes `path` in the cache, into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{shown(path)}: cannot be written in the cache folder: {error.strerror or error} "
            "(SCOPE_BATCH_CACHE names another)"
        ) from error


def file_fingerprint(path: Path) -> str:
    """Return 32 hex digits from a file's size, mtime, first and last MiB, and samples in between."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        digest = hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        for offset, length in _samples(stat.st_size):
            file.seek(offset)
            digest.update(file.read(length))
    return digest.hexdigest()[:32]


def file_sha256(path: Path, before: Callable[[], None] = lambda: None) -> str:
    """Return the file's full sha256 (64 hex digits), computed once per fingerprint and stored in the cache folder.

    before  called if the whole file has to be read. A cache folder that cannot be written costs time only.
    """
    name = file_fingerprint(path)
    if (cached := read_sealed(cache_path("sha256", name))) is not None:
        return cached.decode()
    before()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError, OutputError):
        write_sealed(cache_folder("sha256") / name, digest.encode())
    return digest


def write_sealed(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a small file with its checksum in front. `mode`: less the umask. Raises OSError."""
    with replacing(path, mode=mode) as out:
        out.write(hashlib.sha256(data).digest() + data)


def read_sealed(path: Path) -> bytes | None:
    """Return the data that `write_sealed` wrote; None if the file is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return data if hashlib.sha256(data).digest() == digest else None


def seal(path: Path) -> None:
    """Write the checksum of a file or folder into a file beside it. Raises OSError."""
    with replacing(_seal_of(path)) as out:
        out.write(content_digest(path).encode())


def is_sound(path: Path) -> bool:
    """Return True if `path` exists and still has the checksum that `seal` wrote."""
    try:
        return _seal_of(path).read_text("ascii") == content_digest(path)
    except (OSError, ValueError):
        return False


def content_digest(path: Path) -> str:
    """Return a checksum (64 hex digits) of a file, or of all names and contents in a folder. Raises OSError."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        text = "".join(f"{content_digest(file)} {file.relative_to(path)}\n" for file in files)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    starts = range(0, path.stat().st_size, _PIECE_BYTES)
    with ThreadPoolExecutor(max(1, min(len(starts), os.cpu_count() or 1))) as pool:
        return hashlib.sha256(b"".join(pool.map(lambda start: _digest_of_piece(path, start), starts))).hexdigest()


def _digest_of_piece(path: Path, start: int) -> bytes:
    digest, end = hashlib.sha256(), start + _PIECE_BYTES
    with path.open("rb") as file:
        file.seek(start)
        while part := file.read(min(_MIB, end - file.tell())):
            digest.update(part)
    return digest.digest()


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def remove(path: Path) -> None:
    """Remove a file or folder of the cache and its checksum, if they exist. Raises OSError."""
    _seal_of(path).unlink(missing_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Write `path` atomically: yields a file that is flushed and renamed to `path` if the with-body succeeds.

    A folder at `path` is removed. `mode`: permissions of a new file, less the umask.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as out:
            yield out
            flush_to_disk(out)
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def flush_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock file beside `path`, so that one process builds `path` while the others wait."""
    from filelock import FileLock  # takes a twentieth of a second, and few runs build something

    file = path.with_name(f"{path.name}.lock")
    with writing(file):
        if file.is_dir():
            shutil.rmtree(file)
        file_lock = FileLock(file)
        file_lock.acquire()
    try:
        yield
    finally:
        file_lock.release()


def _samples(size: int) -> Iterator[tuple[int, int]]:
    yield 0, _MIB
    if size > _MIB:
        yield from ((size * i // (_SAMPLES + 1), 4096) for i in range(1, _SAMPLES + 1))
        yield size - _MIB, _MIB
