"""Lists what a work folder holds as JSON lines, each with its own checksum.

Appending a line is what commits a chunk or a state. A crash can damage the last line only; reading ends before the
first line that is damaged, whatever follows it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from scope_batch.core.failpoint import failpoint

Row = dict[str, Any]
"""JSON values by name; "kind" tells what the row is about."""

_CHECKSUM = ', "sha256": "'
_DIGITS = 16


def to_line(row: Row) -> bytes:
    """The row as one line of JSON whose last entry is the checksum of all before it."""
    body = json.dumps(row)[:-1]
    return f'{body}{_CHECKSUM}{_digest(body)}"}}\n'.encode()


def from_line(line: bytes) -> Row | None:
    """The row of a line that `to_line` made; None for any other line."""
    try:
        body, mark, rest = line.decode("ascii").rpartition(_CHECKSUM)
        if not mark or rest != f'{_digest(body)}"}}\n':
            return None
        row = json.loads(body + "}")
    except ValueError:
        return None
    return row if isinstance(row, dict) and "kind" in row else None


def read_manifest(path: Path) -> tuple[list[Row], int | None]:
    """All rows before the first damaged line, and its number; none if there is no such file. Raises OSError.

    A last line without its end is what a crash leaves: it counts as not written, not as damaged.
    """
    rows: list[Row] = []
    try:
        with open_plain(path) as file:
            for line in file:
                row = from_line(line)
                if row is None:
                    return rows, len(rows) + 1 if line.endswith(b"\n") else None
                rows.append(row)
    except FileNotFoundError:
        return [], None
    except NotPlainError:
        return [], 1
    return rows, None


class NotPlainError(OSError):
    """The path leads to a link, a pipe or anything else that is no regular file."""


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; a link is not followed, and a pipe not waited for. Raises OSError, NotPlainError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise (NotPlainError(*error.args) if error.errno == errno.ELOOP else error) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotPlainError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(fd, "rb")


class Manifest:
    """Open for one writer, which holds the lock of the folder. Every method raises OSError."""

    def __init__(self, path: Path, rows: Iterable[Row]) -> None:
        """Begin a manifest of these rows; it takes the place of the one at `path` as a whole."""
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        with new.open("xb") as file:
            failpoint("manifest-new")
            file.writelines(to_line(row) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        failpoint("manifest-rename")
        new.replace(path)
        sync_folder(path.parent)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(self, row: Row) -> None:
        """Commit a row: on return it survives a power cut. A row that fails leaves nothing in front of the next one."""
        line = to_line(row)
        end = os.fstat(self._fd).st_size
        try:
            failpoint(f"manifest-{row['kind']}")
            written = os.write(self._fd, line[: len(line) // 2])
            failpoint(f"manifest-{row['kind']}-half")
            while written < len(line):
                written += os.write(self._fd, line[written:])
            failpoint(f"manifest-{row['kind']}-unsynced")
            os.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, end)
            raise
        failpoint(f"manifest-{row['kind']}-done")

    def close(self) -> None:
        """May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` survive a power cut. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:_DIGITS]
