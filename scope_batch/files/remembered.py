"""Remembers facts about files in the cache folder, for as long as none of the files changes.

A fact belongs to the state of the files before they were read, so a file that changes meanwhile is read again. A cache
folder that cannot be written costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from scope_batch.errors import OutputError
from scope_batch.files.cache import cache_folder, cache_path, read_sealed, write_sealed

Fact = TypeVar("Fact")
_DIGEST_BYTES = 32


def files_state(files: Iterable[Path | str]) -> bytes | None:
    """Return a digest of path, inode, size and times of change of each file; None if one of them is missing.

    The time of the last change of the inode counts too: a program can set the other one back.
    """
    digest = hashlib.sha256()
    try:
        for file in files:
            status = os.stat(file)  # noqa: PTH116  (ten thousand paths take long)
            facts = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(f"{os.fspath(file)!r} {facts}\n".encode())
    except OSError:
        return None
    return digest.digest()


def recall(kind: str, subject: Path, state: bytes | None) -> bytes | None:
    """Return what was remembered of `subject` in this state (`files_state` of its files); None if nothing was.

    kind  names the sort of fact, and a folder in the cache folder.
    """
    stored = None
    with contextlib.suppress(OutputError):
        stored = read_sealed(cache_path(kind, _key(subject)))
    if state is None or stored is None or stored[:_DIGEST_BYTES] != state:
        return None
    return stored[_DIGEST_BYTES:]


def remember(kind: str, subject: Path, state: bytes | None, data: bytes) -> None:
    """Remember `data`, read from files that were in this state before, in place of an older fact of this kind."""
    if state is not None:
        with contextlib.suppress(OSError, OutputError):
            write_sealed(cache_folder(kind) / _key(subject), state + data)


def remembered(kind: str, subject: Path, adapter: TypeAdapter[Fact], look: Callable[[], Fact]) -> Fact:
    """Return what `look` says about the file `subject`; while the file does not change, it is called only once.

    Errors that `look` raises are not remembered.
    """
    state = files_state([subject.absolute()])
    if (stored := recall(kind, subject, state)) is not None:
        with contextlib.suppress(ValidationError):  # written by another version
            return adapter.validate_json(stored)
    fact = look()
    remember(kind, subject, state, adapter.dump_json(fact))
    return fact


def _key(subject: Path) -> str:
    return hashlib.sha256(str(subject.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
