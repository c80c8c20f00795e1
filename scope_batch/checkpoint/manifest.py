"""Lists what a work folder holds as JSON lines, each with its own checksum.

Appending a line is what commits a chunk or a state. A crash can damage the last line only; reading ends before the
first line that is damaged, whatever follows it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
    return row if isinstance(row, dict) else None


def read_rows(path: Path) -> list[Row]:
    """All rows before the first damaged line; none if there is no such file. Raises OSError."""
    rows: list[Row] = []
    try:
        with path.open("rb") as file:
            for line in file:
                row = from_line(line)
                if row is None:
                    break
                rows.append(row)
    except FileNotFoundError:
        return []
    return rows


class Manifest:
    """Open for one writer, which holds the lock of the folder. Every method raises OSError."""

    def __init__(self, path: Path, rows: Iterable[Row]) -> None:
        """Begin a manifest of these rows; it takes the place of the one at `path` as a whole."""
        new = path.with_name(f"{path.name}.new")
        with new.open("wb") as file:
            failpoint("manifest-new")
            file.writelines(to_line(row) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        failpoint("manifest-rename")
        new.replace(path)
        sync_folder(path.parent)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(self, row: Row) -> None:
        """Commit a row: on return it survives a power cut."""
        line = to_line(row)
        failpoint(f"manifest-{row['kind']}")
        written = os.write(self._fd, line[: len(line) // 2])
        failpoint(f"manifest-{row['kind']}-half")
        while written < len(line):
            written += os.write(self._fd, line[written:])
        failpoint(f"manifest-{row['kind']}-unsynced")
        os.fsync(self._fd)
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
