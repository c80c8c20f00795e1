"""A private, locked folder beside an output, in which its files are made before they get their names.

`NAME.EXT` is made in `.NAME.EXT.work/`. Every file in it is a new inode, so no link that lies at a known name can
redirect a write. Whoever holds the lock on the file `lock` owns the folder; an encoder inherits the descriptor, so the
lock lasts until the last process that writes has ended. All access goes through descriptors of the two folders.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from scope_batch.errors import OutputError, TemporaryError
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
"""How long the next render waits for the encoder of a killed one to go, where it cannot end it itself."""
_LOOK_UP_S = 0.05


class WorkFolder:
    """`acquire` and `remove` belong together; between them this process alone makes the output `output`.

    Names are plain file names: in the work folder, or beside the output for the names that a file is moved to.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = work_path(output)
        self.result: Path | None = None
        """What became of the output: its name, or that of a partial; set when it is published."""
        self.lock_fd = -1
        self._fd = -1
        self._parent_fd = -1
        self._made_parents: list[Path] = []

    def acquire(self) -> None:
        """Make the folder, and those above it, and lock it; what a killed render left in it is still there.

        Raises OutputError, or TemporaryError if another process makes the same output.
        """
        with output_errors(self.output):
            try:
                self._made_parents = make_folders(self.output.parent)
                self._parent_fd = os.open(self.output.parent, _FOLDER)
                give_up_s = time.monotonic() + ORPHAN_WAIT_S
                while not self._try_acquire(give_up_s):
                    pass
            except BaseException:
                self._close_own()
                if self._parent_fd >= 0:
                    with contextlib.suppress(OSError):  # not empty: it belongs to somebody
                        os.rmdir(self.path.name, dir_fd=self._parent_fd)
                self._close()
                self._remove_parents()
                raise

    def files(self) -> list[str]:
        """The files made for the output in the order in which they move out: pictures by number, a sidecar last."""
        names = [name for name in self._listed() if name != LOCK and not name.endswith(_JOURNAL_SUFFIX)]
        return sorted(names, key=lambda name: (len(name), name))

    def create(self, name: str) -> int:
        """A new empty file in the work folder, open for reading and writing. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)
        return os.open(name, _NEW_FILE, 0o666, dir_fd=self._fd)

    def write(self, name: str, data: bytes, *, sync: bool = True) -> None:
        """A new small file in the work folder. Raises OSError."""
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
        raise OutputError(f"{self.output}: another file took the place of the one that was written")

    def has_journal(self, name: str) -> bool:
        """Whether the journal `name` is there; False once the folder is let go. Raises OSError."""
        return self._fd >= 0 and name in self._listed()

    def read_journal(self, name: str) -> bytes | None:
        """What `write_journal` kept, None if there is nothing. Raises OSError."""
        return read_plain_file(name, self._fd)

    def write_journal(self, name: str, data: bytes) -> None:
        """Keep `data` whole or not at all, also after a power cut; `name` ends with `.journal`. Raises OSError."""
        self.write(f"new-{name}", data)
        self.rename_journal(f"new-{name}", name)

    def rename_journal(self, name: str, target: str) -> None:
        """Raises OSError."""
        os.rename(name, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        os.fsync(self._fd)

    def identity(self, name: str) -> tuple[int, int, int] | None:
        """Inode, bytes and time of change (ns) of the file `name` beside the output; None if there is none."""
        try:
            found = os.stat(name, dir_fd=self._parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def move_out(self, name: str, target: str) -> None:
        """Give a file of the work folder the name `target` beside the output. Raises OSError."""
        os.rename(name, target, src_dir_fd=self._fd, dst_dir_fd=self._parent_fd)

    def unlink_beside(self, name: str) -> None:
        """Remove the file `name` beside the output, if there is one. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._parent_fd)

    def sync(self) -> None:
        """Make all moves survive a power cut. Raises OSError."""
        os.fsync(self._parent_fd)

    def clear(self) -> None:
        """Remove every file but the lock. Raises OSError."""
        for name in sorted(self._listed(), key=lambda name: name.endswith(_JOURNAL_SUFFIX)):
            if name != LOCK:
                os.unlink(name, dir_fd=self._fd)

    def remove(self) -> None:
        """Remove the folder with all that is in it and release the lock. May be called again. Raises OSError."""
        if self.lock_fd < 0:
            return
        self.clear()
        os.unlink(LOCK, dir_fd=self._fd)  # last: without it the rest would not be known as ours
        self._close_own()
        with contextlib.suppress(OSError):  # another render may have made the folder its own by now
            os.rmdir(self.path.name, dir_fd=self._parent_fd)
        self._close()
        self._remove_parents()

    def release(self) -> None:
        """Let go of the folder and leave everything in it for the next render. May be called again."""
        self._close()

    def _listed(self) -> list[str]:
        return os.listdir(self._fd)  # noqa: PTH208  pathlib knows no descriptors

    def _try_acquire(self, give_up_s: float) -> bool:
        """False if the folder vanished on the way, or belongs to an encoder that is about to end."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path.name, 0o700, dir_fd=self._parent_fd)
        try:
            self._fd = os.open(self.path.name, _FOLDER | os.O_NOFOLLOW, dir_fd=self._parent_fd)
            if (names := self._listed()) and LOCK not in names:
                raise self._foreign()
            self.lock_fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        except FileNotFoundError:
            self._close_own()
            return False
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
                raise self._foreign() from error
            raise
        if self._lock(give_up_s) and self._is_current():
            self._sign()
            return True
        self._close_own()
        return False

    def _lock(self, give_up_s: float) -> bool:
        """False if it has to be tried again."""
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self.lock_fd, 100, 0).removeprefix(_MARK).strip()
            if not owner.isdigit() or is_running(int(owner)):
                raise TemporaryError(f"{self.output}: another process is writing it") from error
            if time.monotonic() > give_up_s:
                raise TemporaryError(
                    f"{self.output}: the encoder of a render that was killed is still there"
                ) from error
            end_orphans(self.lock_fd, self.path)
            time.sleep(_LOOK_UP_S)
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True

    def _is_current(self) -> bool:
        """False if the owner removed the folder between our opening and our locking it."""
        with contextlib.suppress(FileNotFoundError):
            here = os.stat(LOCK, dir_fd=self._fd, follow_symlinks=False)
            return os.path.samestat(os.fstat(self.lock_fd), here)
        return False

    def _sign(self) -> None:
        """Write our mark and process id into the lock. Raises OutputError if the folder is somebody else's."""
        found = os.fstat(self.lock_fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
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
        return OutputError(f"{self.output}: {self.path} is in the way and was not made by a render; move it elsewhere")

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
        """Those that were made for nothing."""
        for folder in reversed(self._made_parents):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._made_parents = []


def read_plain_file(path: str | Path, folder_fd: int | None = None) -> bytes | None:
    """The bytes of a small file; None if there is none, or a link or anything else in its place."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(fd).st_mode) else None


def make_folders(folder: Path) -> list[Path]:
    """Make `folder` and those above it; returns the ones that were missing, the uppermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    return missing[::-1]
