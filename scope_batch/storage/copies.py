"""Keeps local copies of objects, each with the version that it was made from, within a bound of disk space.

The copies lie as `scope_batch.files.urls.copy_path` says. Their records, locks and unfinished downloads lie apart, so
that a folder of pictures holds pictures alone. A process lists the copies that it uses in a file that it keeps locked:
none of these is removed to make room.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from scope_batch.errors import OutputError, UsageError
from scope_batch.files.cache import cache_folder, cache_path, lock, read_sealed, write_sealed, writing
from scope_batch.files.urls import COPIES
from scope_batch.storage.store import StoredObject, disk_free

LIMIT_VARIABLE = "SCOPE_BATCH_COPIES_GB"
DEFAULT_LIMIT_GB = 200.0
"""Most that all copies take together, unless the variable says otherwise."""
_RECORDS, _USERS = "storage-records", "storage-users"

_mine: tuple[Path, int] | None = None
"""The locked file in which this process lists the copies that it uses, and its descriptor, open until the end."""


def is_current(path: Path, stored: StoredObject) -> bool:
    """Return True if `path` is a whole copy of this very version."""
    record = read_sealed(_record(path))
    return record is not None and record == _facts(path, stored)


@contextlib.contextmanager
def replacing_copy(path: Path, stored: StoredObject) -> Iterator[Path | None]:
    """Yield a path for the download of `stored`; it becomes the copy `path` when the with-body succeeds.

    None: another process has made the copy meanwhile. Raises OutputError if there is no room.
    """
    record = _record(path)
    with writing(path):
        record.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
    with lock(record):
        if is_current(path, stored):
            yield None
            return
        part = record.with_suffix(".part")
        make_room(stored)
        try:
            yield part
            with writing(path):
                record.unlink(missing_ok=True)
                part.replace(path)
                write_sealed(record, _facts(path, stored) or b"")
        finally:
            part.unlink(missing_ok=True)


def use(path: Path) -> None:
    """Keep the copy from being removed while this process lives, and note that it was used now."""
    global _mine
    users = cache_folder(_USERS)
    if _mine is None or _mine[0].parent != users:
        file = users / f"{os.getpid()}-{secrets.token_hex(4)}"
        with writing(file):
            _mine = file, os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
            fcntl.flock(_mine[1], fcntl.LOCK_EX)
    os.write(_mine[1], os.fsencode(path) + b"\n")
    with contextlib.suppress(OSError):
        os.utime(_record(path))


def drop(path: Path) -> None:
    """Remove a copy whose object is gone."""
    _record(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def make_room(stored: StoredObject) -> None:
    """Remove the copies that were not used for longest, until `stored` fits. Raises OutputError if it cannot."""
    limit = copies_limit()
    copies = sorted(_copies())
    total = sum(size for _, size, _ in copies) + stored.size
    if total > limit:
        used = _in_use()
        for _, size, path in copies:
            if total > limit and path not in used:
                drop(path)
                total -= size
    if total > limit:
        raise OutputError(
            f"{stored.url}: {decimal(stored.size)} do not fit: the copies that are in use may take "
            f"{decimal(int(limit))} together ({LIMIT_VARIABLE} says how many GB)"
        )
    if stored.size > (free := disk_free(cache_path(COPIES).absolute())):
        raise OutputError(
            f"{stored.url}: {decimal(stored.size)} are to be fetched, {decimal(free)} are free in the cache folder "
            "(SCOPE_BATCH_CACHE names another)"
        )


def copies_limit() -> float:
    """Return the bound in bytes. Raises UsageError for a variable that is no number."""
    text = os.environ.get(LIMIT_VARIABLE)
    try:
        gigabytes = float(text) if text else DEFAULT_LIMIT_GB
    except ValueError:
        gigabytes = -1.0
    if not gigabytes > 0:
        raise UsageError(f"${LIMIT_VARIABLE}: {text!r} is no number of gigabytes above 0")
    return gigabytes * 1e9


def _copies() -> Iterator[tuple[float, int, Path]]:
    """Yield time of the last use, size in bytes and path of every copy."""
    for folder, _, names in os.walk(cache_path(COPIES).absolute()):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                record = _record(path)
                used = record.stat().st_mtime if record.exists() else 0.0
                yield used, path.stat().st_size, path


def _in_use() -> set[Path]:
    """Return the copies that living processes list. The lists of ended ones are removed."""
    used: set[Path] = set()
    for file in cache_folder(_USERS).iterdir():
        with contextlib.suppress(OSError), file.open("rb") as lines:
            try:
                if _mine is None or _mine[0] != file:
                    fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    file.unlink()
                    continue
            except BlockingIOError:
                pass
            used |= {Path(os.fsdecode(line.rstrip(b"\n"))) for line in lines}
    return used


def _facts(path: Path, stored: StoredObject) -> bytes | None:
    """Return what a record holds: the version of the object, and size and time of the copy."""
    try:
        status = path.stat()
    except OSError:
        return None
    if status.st_size != stored.size:
        return None
    return json.dumps([stored.version, stored.size, status.st_mtime_ns]).encode()


def _record(path: Path) -> Path:
    copies = cache_path(COPIES).absolute()
    return cache_path(_RECORDS).absolute() / path.relative_to(copies).with_name(f"{path.name}.json")
