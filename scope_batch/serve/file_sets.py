"""Lays uploads out as a folder of named files, so that a job can name its inputs as it does beside a job file."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from scope_batch.errors import JobError, OutputError
from scope_batch.job.faults import shown

MAX_FILES = 20_000
MAX_NAME_CHARACTERS = 512
_MAX_PART_BYTES = 255


class FileSets:
    """The sets of a state directory. Their files are links to uploads, so a set takes no room and outlives them."""

    def __init__(self, folder: Path) -> None:
        """`folder`: on the same disk as the uploads; created with the first set."""
        self._folder = folder

    def create(self, files: Mapping[str, Path]) -> Path:
        """Return a new folder that holds `files`: name, such as "0/clip.mp4" -> upload.

        Raises JobError, with nothing left behind, for names that cannot stand in one folder.
        """
        problems = [problem for name in files if (problem := _problem(name))]
        if len(files) > MAX_FILES:
            problems.append(f"files: {len(files)} files; at most {MAX_FILES} are allowed")
        if problems:
            raise JobError(*problems)
        place = self._folder / f"set-{secrets.token_hex(16)}"
        try:
            place.mkdir(mode=0o700, parents=True)
            for name, upload in files.items():
                path = place / name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.link(upload, path)
        except (FileExistsError, NotADirectoryError):
            shutil.rmtree(place)
            raise JobError(f"files: {shown(name)}: is both a file and a folder") from None
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise OutputError(f"{place}: cannot be written: {error.strerror}") from error
        return place

    def remove(self, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)

    def expire(self, keep_s: float, is_used: Callable[[Path], bool] = lambda _: False) -> None:
        """Remove the sets that are older than `keep_s` seconds and not used."""
        oldest = time.time() - keep_s
        for place in self._folder.glob("set-*"):
            with suppress(FileNotFoundError):  # it was removed with its job at this moment
                if place.stat().st_mtime < oldest and not is_used(place):
                    self.remove(place)


def _problem(name: str) -> str:
    """Return why a file may not have this name, "" if it may."""
    path = PurePosixPath(name)
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable() or "\\" in name:
        allowed = f"up to {MAX_NAME_CHARACTERS} printable characters"
    elif path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
        allowed = "a relative name such as 0/clip.mp4"
    elif any(len(part.encode()) > _MAX_PART_BYTES for part in path.parts):
        allowed = f"parts of at most {_MAX_PART_BYTES} bytes"
    else:
        return ""
    return f"files: {shown(name)}: is no name of a file; allowed: {allowed}"
