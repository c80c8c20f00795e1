"""Manages the private, locked folder beside an output, in which its files are written before they are published.

`NAME.EXT` is written in `.NAME.EXT.work/`. Every file in it is a new inode, so a link planted at a known name cannot
redirect a write. Whoever holds the lock on the file `lock` owns the folder; an encoder inherits the descriptor, so the
lock lasts until the last process that writes has ended. All access goes through descriptors of the two folders.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from pathlib import Path

from scope_batch.checkpoint.store import MANIFEST, STORE
from scope_batch.core.failpoint import failpoint
from scope_batch.errors import OutputError, TemporaryError
from scope_batch.files.access import make_folders
from scope_batch.sinks.orphans import end_orphans, is_running
from scope_batch.sinks.output import output_errors, work_path

LOCK = "lock"
_MARK = b"work folder of scope-batch, process "
_PID_DIGITS = 10
_JOURNAL_SUFFIX = ".journal"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)

ORPHAN_WAIT_S = 15.0
"""Longest time in seconds to wait for the encoder of a killed render to exit, if it cannot be killed."""
BUSY_WAIT_S = 1.0
"""As long another render of the output is waited for, which may be exiting because its parent was killed."""
_POLL_S = 0.05


class WorkFolder:
    """Locked from `acquire` to `remove` or `release`; meanwhile only this process writes the output `output`.

    Names are plain file names: in the work folder, or beside the output for the names that a file is moved to.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = work_path(output)
        self.result: Path | None = None
        """The published output or its partial; None until then."""
        self.keeps_chunks = True
        """`remove` leaves the chunks that a render has stored, and with them the folder, to the next render."""
        self.lock_fd = -1
        self._fd = -1
        self._parent_fd = -1
        self._new_parents: list[Path] = []

    def acquire(self) -> None:
        """Create the folder and its parents and lock it; files left by a killed render remain in it.

        Raises OutputError, or TemporaryError if another process writes the same output.
        """
        with output_errors(self.output):
            try:
                self._new_parents = make_folders(self.output.parent)
                self._parent_fd = os.open(self.output.parent, _FOLDER)
                began_s = time.monotonic()
                while not self._try_acquire(began_s):
                    pass
            except BaseException:
                self._close_own()
                if self._parent_fd >= 0:
                    with contextlib.suppress(OSError):  # not empty: another process uses it
                        os.rmdir(self.path.name, dir_fd=self._parent_fd)
                self._close()
                self._remove_parents()
                raise

    def files(self) -> list[str]:
        """Return the output's files in the order in which they move out: pictures by number, a sidecar last."""
        names = [name for name in self._listed() if name != LOCK and not name.endswith(_JOURNAL_SUFFIX)]
        return sorted(names, key=lambda name: (len(name), name))

    def create(self, name: str) -> int:
        """Create an empty file in the work folder and open it for reading and writing. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)
        return os.open(name, _NEW_FILE, 0o666, dir_fd=self._fd)

    def write(self, name: str, data: bytes, *, sync: bool = True) -> None:
        """Create a small file in the work folder. Raises OSError."""
        with os.fdopen(self.create(name), "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def refuse_other_file(self, name: str, fd: int) -> None:
        """Raises OutputError unless `name` in the work folder is still the file that `fd` is open on."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=self._fd, follow_symlinks=False)):
                return
        raise OutputError(f"{self.output}: the file was replaced by another one while it was written")

    def has_journal(self, name: str) -> bool:
        """Return whether the journal `name` exists; False after `release`. Raises OSError."""
        return self._fd >= 0 and name in self._listed()

    def read_journal(self, name: str) -> bytes | None:
        """Return the data of `write_journal`, None if there is no such journal. Raises OSError."""
        return read_plain_file(name, self._fd)

    def write_journal(self, name: str, data: bytes) -> None:
        """Store `data` atomically and durably; `name` ends with `.journal`. Raises OSError."""
        self.write(f"new-{name}", data)
        self.rename_journal(f"new-{name}", name)

    def rename_journal(self, name: str, target: str) -> None:
        """Rename a journal durably. Raises OSError."""
        os.rename(name, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        os.fsync(self._fd)

    def identity(self, name: str) -> tuple[int, int, int] | None:
        """Return inode, size in bytes and mtime in ns of the file `name` beside the output; None if there is none."""
        try:
            status = os.stat(name, dir_fd=self._parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns)

    def move_out(self, name: str, target: str) -> None:
        """Move a file of the work folder to the name `target` beside the output. Raises OSError."""
        os.rename(name, target, src_dir_fd=self._fd, dst_dir_fd=self._parent_fd)

    def unlink_beside(self, name: str) -> None:
        """Remove the file `name` beside the output, if there is one. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._parent_fd)

    def sync(self) -> None:
        """Make all moves survive a power cut. Raises OSError."""
        os.fsync(self._parent_fd)

    def clear(self) -> None:
        """Remove every file but the lock and the stored chunks. Raises OSError."""
        for name in sorted(self._listed(), key=lambda name: name.endswith(_JOURNAL_SUFFIX)):
            if name != LOCK:
                os.unlink(name, dir_fd=self._fd)

    def drop_chunks(self) -> None:
        """Remove the stored chunks, their list first, so that the rest never counts. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{STORE}/{MANIFEST}", dir_fd=self._fd)
            failpoint("chunks-drop")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(STORE, dir_fd=self._fd)

    def remove(self) -> None:
        """Remove the folder with its files and release the lock. May be called twice. Raises OSError."""
        if self.lock_fd < 0:
            return
        self.clear()
        failpoint("work-cleared")
        if self.keeps_chunks and any((self.path / STORE).glob("*.frames")):
            self._close()
            return
        self.drop_chunks()
        failpoint("work-remove")
        os.unlink(LOCK, dir_fd=self._fd)  # last, since a folder without it is not recognized as ours
        self._close_own()
        with contextlib.suppress(OSError):  # another render may have taken the folder over
            os.rmdir(self.path.name, dir_fd=self._parent_fd)
        self._close()
        self._remove_parents()

    def release(self) -> None:
        """Release the lock and leave all files to the next render. May be called twice."""
        self._close()

    def _listed(self) -> list[str]:
        return [name for name in os.listdir(self._fd) if name != STORE]  # noqa: PTH208  pathlib knows no descriptors

    def _try_acquire(self, began_s: float) -> bool:
        """Return False if the folder was removed meanwhile, or is locked by a process that may be about to exit."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path.name, 0o700, dir_fd=self._parent_fd)
        try:
            self._fd = os.open(self.path.name, _FOLDER | os.O_NOFOLLOW, dir_fd=self._parent_fd)
            if (names := self._listed()) and LOCK not in names:
                raise self._foreign()
            self._check_store()
            self.lock_fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        except FileNotFoundError:
            self._close_own()
            return False
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
                raise self._foreign() from error
            raise
        if self._lock(began_s) and self._is_current():
            self._sign()
            failpoint("work-locked")
            return True
        self._close_own()
        return False

    def _check_store(self) -> None:
        """Raises OutputError if something else has the name of the folder with the stored chunks, such as a link."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.stat(STORE, dir_fd=self._fd, follow_symlinks=False).st_mode):
                raise OutputError(f"{self.output}: {self.path / STORE} is in the way and is not a folder; remove it")

    def _lock(self, began_s: float) -> bool:
        """Return False if locking has to be tried again."""
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self.lock_fd, 100, 0).removeprefix(_MARK).strip()
            waited_s = time.monotonic() - began_s
            if not owner.isdigit() or is_running(int(owner)):
                if waited_s < BUSY_WAIT_S:
                    time.sleep(_POLL_S)
                    return False
                holder = f"process {owner.decode()} has" if owner.isdigit() else "it has"
                why = f"another process is writing it: {holder} locked {self.path / LOCK}"
                raise TemporaryError(f"{self.output}: {why}") from error
            if waited_s > ORPHAN_WAIT_S:
                raise TemporaryError(f"{self.output}: the encoder of a killed render is still running") from error
            end_orphans(self.lock_fd, self.path)
            time.sleep(_POLL_S)
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True

    def _is_current(self) -> bool:
        """Return False if the owner removed the folder between our opening and locking it."""
        with contextlib.suppress(FileNotFoundError):
            current = os.stat(LOCK, dir_fd=self._fd, follow_symlinks=False)
            return os.path.samestat(os.fstat(self.lock_fd), current)
        return False

    def _sign(self) -> None:
        """Write our mark and process id into the lock. Raises OutputError if the folder is not a work folder."""
        status = os.fstat(self.lock_fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise self._foreign()
        text = os.pread(self.lock_fd, len(_MARK), 0)
        new = not text and self._listed() == [LOCK]
        if not new and text != _MARK:
            raise self._foreign()
        try:
            os.pwrite(self.lock_fd, _MARK + b"%*d\n" % (_PID_DIGITS, os.getpid()), 0)  # in place: never empty meanwhile
            if new:
                os.fsync(self.lock_fd)
        except OSError:
            if new:
                os.unlink(LOCK, dir_fd=self._fd)
            raise

    def _foreign(self) -> OutputError:
        return OutputError(f"{self.output}: {self.path} is in the way and is not a work folder; move it elsewhere")

    def _close(self) -> None:
        self._close_own()
        if self._parent_fd >= 0:
            os.close(self._parent_fd)
            self._parent_fd = -1

    def _close_own(self) -> None:
        for fd in (self._fd, self.lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self.lock_fd = -1

    def _remove_parents(self) -> None:
        """Remove the parent folders that `acquire` created, unless they are in use."""
        for folder in reversed(self._new_parents):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._new_parents = []


def read_plain_file(path: str | Path, folder_fd: int | None = None) -> bytes | None:
    """Return the bytes of a small file; None if there is none, or if it is a link or not a regular file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(fd).st_mode) else None
