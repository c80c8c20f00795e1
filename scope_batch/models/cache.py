"""Our own folder for what can be made again, with checksums, so that what was damaged is made again. Torch-free.

Three forms: a small file with its checksum in front (`write_sealed`), a file or folder with its checksum beside it
(`seal`), and a lock beside either. Also cheap names for large files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import platformdirs
from filelock import FileLock

from scope_batch.errors import OutputError
from scope_batch.files.access import shown

_MIB = 1 << 20
_SAMPLES = 16
"""Places between the first and the last MiB that the fingerprint looks at, 4 KiB each."""
_PIECE_BYTES = 64 * _MIB
"""What is hashed at a time when a checksum is computed; pieces are hashed side by side."""
_DIGEST_BYTES = 32


def cache_path(*parts: str) -> Path:
    """`parts` below $SCOPE_BATCH_CACHE, else below the platform's user cache; nothing is made. Raises OutputError."""
    root = os.environ.get("SCOPE_BATCH_CACHE")
    try:
        folder = Path(root).expanduser() if root else platformdirs.user_cache_path("scope-batch", appauthor=False)
    except RuntimeError as error:
        raise OutputError(f"$SCOPE_BATCH_CACHE: {root}: there is no such user's home") from error
    return folder.joinpath(*parts)


def cache_folder(*parts: str) -> Path:
    """The folder `parts` of the cache, made if it is not there. Raises OutputError."""
    folder = cache_path(*parts)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around calls that write `path` in the cache: the system's errors become an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{shown(path)}: cannot be written in the cache folder: {error.strerror or error} "
            "(SCOPE_BATCH_CACHE names another)"
        ) from error


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
    kept = cache_folder("sha256") / file_fingerprint(path)
    if (known := read_sealed(kept)) is not None:
        return known.decode()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):
        write_sealed(kept, digest.encode())
    return digest


def write_sealed(path: Path, data: bytes) -> None:
    """Write a small file with its checksum in front. Raises OSError."""
    with replacing(path) as out:
        out.write(hashlib.sha256(data).digest() + data)


def read_sealed(path: Path) -> bytes | None:
    """What `write_sealed` wrote; None where there is no such file or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return data if hashlib.sha256(data).digest() == digest else None


def seal(path: Path) -> None:
    """Note the checksum of a file or folder beside it. Raises OSError."""
    with replacing(_seal_of(path)) as out:
        out.write(content_digest(path).encode())


def is_sound(path: Path) -> bool:
    """Whether `path` is there, was sealed, and is what it was then."""
    try:
        return _seal_of(path).read_text("ascii") == content_digest(path)
    except (OSError, ValueError):
        return False


def content_digest(path: Path) -> str:
    """A checksum (64 hex digits) of a file, or of the names and contents of all files in a folder. Raises OSError."""
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
    """Remove a file or folder of the cache and its checksum, if they are there. Raises OSError."""
    _seal_of(path).unlink(missing_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path` whole, on the disk and all at once, or not at all. A folder there is removed."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
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
    """The lock beside `path`: whoever holds it makes `path`, everybody else waits and finds it made."""
    file = path.with_name(f"{path.name}.lock")
    with writing(file):
        if file.is_dir():
            shutil.rmtree(file)
        held = FileLock(file)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _spots(size: int) -> Iterator[tuple[int, int]]:
    yield 0, _MIB
    if size > _MIB:
        yield from ((size * i // (_SAMPLES + 1), 4096) for i in range(1, _SAMPLES + 1))
        yield size - _MIB, _MIB
