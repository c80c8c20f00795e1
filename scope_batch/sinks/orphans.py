"""Kills encoders left behind by a killed render, and checks whether a process is running."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def end_orphans(lock_fd: int, folder: Path) -> None:
    """Kill every encoder that still writes into the work folder `folder` after its render has died.

    Such a process holds the inherited lock, names a file of the folder in its arguments, and its parent does not hold
    the lock. Does nothing on systems without /proc.
    """
    holders = {pid for pid in _processes() if _holds(pid, lock_fd)} - {os.getpid()}
    marker = os.fsencode(folder.absolute()) + b"/"
    for pid in holders:
        with contextlib.suppress(OSError):
            if _parent(pid) not in holders and marker in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Return whether the process is running; False for a zombie."""
    with contextlib.suppress(OSError):
        return _status(pid)[0] not in "ZX"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _processes() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return []


def _holds(pid: int, fd: int) -> bool:
    """Return whether the process has the file of our descriptor `fd` open; False for processes of other users."""
    with contextlib.suppress(OSError):
        return any(_is_same(entry, fd) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _is_same(entry: Path, fd: int) -> bool:
    with contextlib.suppress(OSError):  # it has been closed since
        return os.path.samestat(entry.stat(), os.fstat(fd))
    return False


def _parent(pid: int) -> int:
    return int(_status(pid)[1])


def _status(pid: int) -> list[str]:
    """Return state, parent and so on: the fields after the program's name, which may contain spaces. Raises OSError."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()
