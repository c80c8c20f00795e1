"""Opens files that clients name below one folder, and nothing outside it: no link is ever followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scope_batch.errors import JobError, MissingInputError
from scope_batch.job.faults import shown

MAX_NAME_CHARACTERS = 1024
_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AS_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A FIFO would block whoever opens it without O_NONBLOCK."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder whose files clients may name. `option` is its name in messages, such as "--assets-root"."""

    folder: Path
    option: str

    def path_of(self, name: str) -> Path:
        """Return the absolute path of the regular file `name`. Raises as `open_file` does."""
        os.close(self.open_file(name))
        return self.folder.absolute().joinpath(*self._parts(name))

    def open_file(self, name: str) -> int:
        """Open the regular file `name` for reading and return its descriptor.

        name  relative to the folder, or absolute and below it; without "..".
        Raises JobError for any name that is not allowed, MissingInputError if there is no such file.
        """
        parts = self._parts(name)
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for part in parts[:-1]:
                    inner = os.open(part, _AS_FOLDER, dir_fd=folder)
                    os.close(folder)
                    folder = inner
                file = os.open(parts[-1], _AS_FILE, dir_fd=folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._refusal(name, error) from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise JobError(f"{shown(name)}: is not a regular file")
        return file

    def names(self) -> Iterator[str]:
        """Yield the names of all regular files, sorted within each folder; links and hidden files are left out."""
        yield from _names(self.folder, PurePosixPath())

    def _parts(self, name: str) -> tuple[str, ...]:
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise JobError(
                f"{shown(name)}: is not a file name; allowed: up to {MAX_NAME_CHARACTERS} printable characters"
            )
        path = PurePosixPath(name)
        if path.is_absolute():
            for folder in (self.folder.absolute(), self.folder.resolve()):
                if path.is_relative_to(folder):
                    path = path.relative_to(folder)
                    break
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise JobError(f"{shown(name)}: must be the name of a file under {self.option}, without ..")
        return path.parts

    def _refusal(self, name: str, error: OSError) -> JobError | MissingInputError:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return MissingInputError(f"{shown(name)}: no such file under {self.option}, or a link on the way to it")
        if error.errno == errno.ELOOP:
            return JobError(f"{shown(name)}: is a link, and links are not followed")
        return JobError(f"{shown(name)}: cannot be read: {error.strerror}")


def _names(folder: Path, below: PurePosixPath) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # a folder that is gone, or not readable, holds no files for clients
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _names(folder / entry.name, below / entry.name)
        elif entry.is_file(follow_symlinks=False) and entry.name.isprintable():
            yield str(below / entry.name)
