"""Counts the bytes of all uploads against one limit."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from scope_batch.errors import OutputError
from scope_batch.serve.problem_documents import HttpProblem


class UploadRoom:
    """The bytes of the complete uploads in a folder, of those that are coming, and of assets that were uploaded.

    Assets lie elsewhere, where they may stand beside files that were never uploaded, so the folder `assets` keeps a
    symbolic link to each; an asset that somebody removed counts no longer. All methods may be called from any thread.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Count what an earlier server has left."""
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()
        self._kept_bytes = 0
        self._coming: dict[Path, int] = {}
        """Bytes of each upload that is being received, or those that it is going to have."""
        self._changed: dict[tuple[int, int], int] = {}
        """Bytes of each file that came or went since the last count began."""
        self.count()

    def count(self) -> None:
        """Count the files anew, after some of them were removed. Takes long where there are many."""
        with self._lock:
            self._changed = {}
        found = _sizes_in(self._folder)
        with self._lock:
            self._kept_bytes = sum({**found, **self._changed}.values())

    def claim(self, part: Path, size: int) -> None:
        """Count an upload of `size` bytes so far. Raises HttpProblem (507) if all together are too many."""
        with self._lock:
            self._coming[part] = max(size, self._coming.get(part, 0))
            if self._kept_bytes + sum(self._coming.values()) <= self._max_bytes:
                return
        raise HttpProblem(
            HTTPStatus.INSUFFICIENT_STORAGE,
            f"all uploads together may have {self._max_bytes} bytes (--max-uploads), and {self._kept_bytes} are kept: "
            "try again when older ones have expired (--keep); assets count until they are removed from --assets-root",
        )

    def release(self, part: Path) -> None:
        """An upload is no longer coming."""
        with self._lock:
            self._coming.pop(part, None)

    def keep(self, part: Path, file: Path) -> None:
        """The upload `part` has become a complete file."""
        status = file.stat()
        with self._lock:
            self._coming.pop(part, None)
            self._kept_bytes += status.st_size
            self._changed[status.st_dev, status.st_ino] = status.st_size

    def remove(self, file: Path) -> None:
        """Remove a complete file that is in no set."""
        status = file.stat()
        file.unlink()
        with self._lock:
            self._kept_bytes -= status.st_size
            self._changed[status.st_dev, status.st_ino] = 0

    def keep_asset(self, file: Path) -> None:
        """Count a file of the assets from now on. Raises OutputError."""
        link = self._folder / "assets" / file.name
        try:
            link.parent.mkdir(mode=0o700, exist_ok=True)
            link.unlink(missing_ok=True)  # of an earlier asset of this name, which is gone
            link.symlink_to(file.absolute())
            self.keep(link, file)
        except OSError as error:
            raise OutputError(f"{link}: cannot be written: {error.strerror}") from error


def _sizes_in(folder: Path) -> dict[tuple[int, int], int]:
    """Return the bytes of all complete files below a folder by device and inode: one with two names counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it has expired at this moment, or is an asset that was removed
                status = os.stat(os.path.join(parent, name))  # noqa: PTH116, PTH118  (thousands of files)
                if not name.endswith(".part"):
                    sizes[status.st_dev, status.st_ino] = status.st_size
    return sizes
