"""A file that is written beside its name and gets it only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from scope_batch.errors import JobError, OutputError, OutputExistsError, TemporaryError

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Any OSError inside becomes an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error


def part_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def partial_path(path: Path) -> Path:
    """Name under which a valid but shorter file is kept: out.mp4 -> out.partial.mp4."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def sidecar_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raises OutputExistsError if `path` exists and may not be replaced, JobError if it is no plain file."""
    with output_errors(path):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
    if not stat.S_ISREG(mode):
        raise JobError(f"{path}: exists and is not a plain file, so it is not replaced")
    if not overwrite:
        raise OutputExistsError(f"{path}: exists; replace it with --overwrite")


def refuse_folder(path: Path) -> None:
    """Raises OutputError if `path` lies where no file of ours can be made; its folders need not exist yet."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise OutputError(f"{path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {folder} cannot be written")


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all, to stay. Raises OSError."""
    replace_file(path, data, sync=True)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, *, sync: bool) -> None:
    """Whoever opens `path` sees the old file or the new one, both whole. Raises OSError.

    `sync`: also after a power cut, once the folder is synced.
    """
    part = part_path(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class PartFile:
    """`NAME.part` in the same folder, locked while it is open, so that two renders never write one output."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self.part = part_path(path)
        self._overwrite = overwrite
        self._fd = -1

    def open(self) -> int:
        """Create it empty, its folders too; returns a descriptor for reading and writing.

        Raises OutputError, or TemporaryError if another process writes the same output.
        """
        with output_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while not self._try_open():
                pass
            os.ftruncate(self._fd, 0)
        return self._fd

    def publish(self, target: Path) -> None:
        """Sync it, give it the name `target`, sync the folder. Raises OSError."""
        os.fsync(self._fd)
        if target == self.path:
            refuse_existing(target, overwrite=self._overwrite)
        self.part.replace(target)
        self._close()
        sync_folder(target.parent)

    def discard(self) -> None:
        """Remove it, unless it has been published. May be called again."""
        if self._fd >= 0:
            self.part.unlink(missing_ok=True)
            self._close()

    def _try_open(self) -> bool:
        """False if the file was renamed or removed by its owner between our opening and locking it."""
        self._fd = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._close()
            raise TemporaryError(f"{self.path}: another process is writing it") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                self._close()
                raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._fd), self.part.stat()):
                return True
        self._close()
        return False

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1
