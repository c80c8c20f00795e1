"""Opens files that clients name below one folder, and nothing outside it: links are followed within the folder only."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scope_batch.errors import JobError, MissingInputError
from scope_batch.job.faults import shown

MAX_NAME_CHARACTERS = 1024
MAX_LINKS = 40
"""So many links are followed on the way to one file, as Linux does."""
_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AS_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A FIFO would block whoever opens it without O_NONBLOCK."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder whose files clients may name. `option` is its name in messages, such as "--assets-root"."""

    folder: Path
    option: str

    def path_of(self, name: str) -> Path:
        """Return the absolute path of the regular file `name`, without links below the folder. Raises as `open_file`
        does."""
        file, parts = self._open(name)
        os.close(file)
        return self.folder.absolute().joinpath(*parts)

    def open_file(self, name: str) -> int:
        """Open the regular file `name` for reading and return its descriptor.

        name  relative to the folder, or absolute and below it; without "..". Links are followed if they stay below it.
        Raises JobError for any name that is not allowed, MissingInputError if there is no such file.
        """
        return self._open(name)[0]

    def _open(self, name: str) -> tuple[int, list[str]]:
        """Return the descriptor of a file and the way to it without links."""
        way = self._parts(name)
        try:
            with ExitStack() as stack:
                file, place = self._walk(name, way, stack)
        except OSError as error:
            raise self._refusal(name, error) from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise JobError(f"{shown(name)}: is not a regular file")
        return file, place

    def _walk(self, name: str, way: tuple[str, ...], stack: ExitStack) -> tuple[int, list[str]]:
        """Open one part after another, each within the folder opened before, so that nothing that changes meanwhile
        leads outside. The system follows no link: their targets are walked here."""

        def opened(part: str | Path, flags: int, within: int | None = None) -> int:
            folder = os.open(part, flags, dir_fd=within)
            stack.callback(os.close, folder)
            return folder

        folders, place, links = [opened(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)], list[str](), 0
        left = [*reversed(way)]
        while left:
            part = left.pop()
            if part == "..":
                if not place:
                    raise self._outside(name)
                folders.pop()
                place.pop()
            elif (target := _link_target(part, folders[-1])) is not None:
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                path = PurePosixPath(target)
                if path.is_absolute():
                    path = self._relative(path)
                    del folders[1:], place[:]
                if path.is_absolute():
                    raise self._outside(name)
                left += reversed(path.parts)
            elif left:
                folders.append(opened(part, _AS_FOLDER, folders[-1]))
                place.append(part)
            else:
                return os.open(part, _AS_FILE, dir_fd=folders[-1]), [*place, part]
        raise JobError(f"{shown(name)}: is not a regular file")

    def names(self) -> Iterator[str]:
        """Yield the names of all regular files and of links to such files below the folder, sorted within each folder;
        links to folders, and hidden files, are left out."""
        yield from self._names(self.folder, PurePosixPath())

    def _names(self, folder: Path, below: PurePosixPath) -> Iterator[str]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            return  # a folder that is gone, or not readable, holds no files for clients
        for entry in entries:
            name = str(below / entry.name)
            if entry.name.startswith(".") or not entry.name.isprintable():
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._names(folder / entry.name, below / entry.name)
            elif entry.is_file(follow_symlinks=False) or (entry.is_symlink() and self._has(name)):
                yield name

    def _has(self, name: str) -> bool:
        try:
            os.close(self.open_file(name))
        except (JobError, MissingInputError):
            return False
        return True

    def _parts(self, name: str) -> tuple[str, ...]:
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise JobError(
                f"{shown(name)}: is not a file name; allowed: up to {MAX_NAME_CHARACTERS} printable characters"
            )
        path = self._relative(PurePosixPath(name))
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise JobError(f"{shown(name)}: must be the name of a file under {self.option}, without ..")
        return path.parts

    def _relative(self, path: PurePosixPath) -> PurePosixPath:
        """Return a path below the folder relative to it, any other one unchanged."""
        for folder in (self.folder.absolute(), self.folder.resolve()):
            if path.is_relative_to(folder):
                return path.relative_to(folder)
        return path

    def _outside(self, name: str) -> JobError:
        return JobError(f"{shown(name)}: is a link that leads outside {self.option}")

    def _refusal(self, name: str, error: OSError) -> JobError | MissingInputError:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return MissingInputError(f"{shown(name)}: no such file under {self.option}")
        if error.errno == errno.ELOOP:
            return JobError(f"{shown(name)}: too many links, or a link that changes at this moment")
        return JobError(f"{shown(name)}: cannot be read: {error.strerror}")


def _link_target(part: str, folder: int) -> str | None:
    """Return where a link points; None for anything else."""
    try:
        return os.readlink(part, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise
