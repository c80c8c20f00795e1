"""Watches a process of these tests: the files that it touches, and the callbacks that hold up its event loop.

Python imports a module of this name when it starts. So every process that has this folder in PYTHONPATH is watched, the
workers of a server too; the process of the tests itself calls `watch`. Faults are written to a file, a line each.
"""

from __future__ import annotations

import os
import shutil
import site
import sys
import sysconfig
import threading
import time
import traceback
from typing import Any

REPORT = "SCOPE_BATCH_WATCH_REPORT"
"""Environment variable: the file of the faults."""
FOLDERS = "SCOPE_BATCH_WATCH_FOLDERS"
"""Environment variable: folders in which files may be read and written, with ":" between them."""
SECRET = "secret.txt"
"""No file of this name may be read: it is what the tests try to steal."""
MOST_CALLBACK_S = 0.1
LOOK_AGAIN_S = 0.02

_REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
_CODE = (
    _REPOSITORY, sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *site.getsitepackages(),
    site.getusersitepackages(), "/usr/lib", "/usr/share", "/lib",
)  # fmt: skip
_READABLE = (
    "/proc",
    "/sys",
    "/etc/ssl",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/apache2",
    "/etc/httpd",
    "/usr/local",
)
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/tty")
_SCRATCH = ("__pycache__", ".pytest_cache", ".hypothesis")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STAYS = os.O_NOFOLLOW | os.O_EXCL
_busy = threading.local()


def watch(report: str, folders: list[str]) -> threading.Event:
    """Begin to watch this process. Faults are written while the event that is returned is set, as it is."""
    file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    roots = [os.path.realpath(folder) for folder in folders]
    on = threading.Event()
    on.set()

    def told(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS or not on.is_set() or getattr(_busy, "now", False):
            return
        _busy.now = True
        try:
            for path, writes, follows in _EVENTS[event](arguments):
                if not _may_touch(path, writes, follows, roots):
                    place = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[-5:-1])
                    os.write(file, f"{event} {'write' if writes else 'read'} {path!r} at {place}\n".encode())
        finally:
            _busy.now = False

    sys.addaudithook(told)
    if "--multiprocessing-fork" not in sys.orig_argv:
        _watch_loops(
            lambda text: on.is_set() and os.write(file, f"{text}\n".encode()),
            garbage_counts=__name__ == "sitecustomize",
        )
    return on


def _may_touch(path: Any, writes: bool, follows: bool, roots: list[str]) -> bool:
    if isinstance(path, int) or path is None or path in (":memory:", b":memory:"):
        return True
    text = os.path.abspath(os.fsdecode(path))
    if text in _DEVICES:
        return True
    folder, name = os.path.split(text)
    real = os.path.realpath(text) if follows else os.path.join(os.path.realpath(folder), name)
    if SECRET in (name, os.path.basename(real)):
        return writes  # the tests themselves make it
    if _is_below(real, roots):
        return True
    if writes:
        return _is_below(real, _CODE) and any(part in _SCRATCH for part in real.split("/"))
    return _is_below(real, (*_CODE, *_READABLE)) or _is_below(text, _READABLE) or text in sys.path


def _is_below(path: str, folders: Any) -> bool:
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _at(path: Any, folder: int) -> Any:
    """The path of a name in an open folder."""
    if folder < 0 or isinstance(path, int) or os.path.isabs(path):
        return path
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))


def _opened(arguments: tuple[Any, ...]) -> Any:
    path, mode, flags = arguments
    if not isinstance(path, str | bytes | os.PathLike):
        return
    name = os.fsdecode(path)
    if mode is None and "/" not in name and name not in ("", "..") and flags & _STAYS:
        return  # of an open folder, which was watched when it was opened, and no link of it is followed
    if mode is None and _removes_a_tree(sys._getframe(2)):
        return  # of a folder, which it compares with what it saw before it goes on
    if mode is None and not os.path.isabs(name) and not os.path.lexists(name):
        path = f"/in an open folder/{name}"  # where a link of this name would be followed
    writes = bool(flags & _WRITING) if mode is None else any(letter in mode for letter in "wax+")
    yield path, writes, not flags & os.O_NOFOLLOW


def _removes_a_tree(frame: Any) -> bool:
    """Return whether a function is a part of `shutil.rmtree`, which refuses links."""
    code = frame.f_code
    return bool(code.co_filename == shutil.__file__ and code.co_name.startswith(("rmtree", "_rmtree_safe_fd")))


_EVENTS: dict[str, Any] = {
    "open": _opened,
    "sqlite3.connect": lambda arguments: [(arguments[0], True, True)],
    "os.listdir": lambda arguments: [(arguments[0], False, True)],
    "os.scandir": lambda arguments: [(arguments[0], False, True)],
    "os.remove": lambda arguments: [(_at(*arguments), True, False)],
    "os.rmdir": lambda arguments: [(_at(*arguments), True, False)],
    "os.mkdir": lambda arguments: [(_at(arguments[0], arguments[2]), True, False)],
    "os.chmod": lambda arguments: [(_at(arguments[0], arguments[2]), True, True)],
    "os.truncate": lambda arguments: [(arguments[0], True, True)],
    "os.symlink": lambda arguments: [(_at(arguments[1], arguments[2]), True, False)],
    "os.rename": lambda arguments: [
        (_at(arguments[0], arguments[2]), True, False), (_at(arguments[1], arguments[3]), True, False)
    ],
    "os.link": lambda arguments: [
        (_at(arguments[0], arguments[2]), False, False), (_at(arguments[1], arguments[3]), True, False)
    ],
}  # fmt: skip
"""Audit event -> (path, whether it is written, whether a link at its end is followed) of its arguments."""


def _waited_s() -> dict[str, float]:
    """Return for each thread of this process how long it was ready to run and had no processor."""
    waited: dict[str, float] = {}
    _busy.now = True
    try:
        for thread in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{thread}/schedstat", "rb", buffering=0) as file:
                    waited[thread] = int(file.read().split()[1]) / 1e9
            except (OSError, IndexError):  # it has just ended
                continue
    finally:
        _busy.now = False
    return waited


def _watch_loops(tell: Any, *, garbage_counts: bool) -> None:
    """Tell of each callback that kept an event loop from its other work for too long.

    The time that threads of this process waited for a processor does not count: it is the fault of a busy machine, also
    where the loop waited for another thread. Nor does the garbage collection of a test runner, which holds more than a
    server does.
    """
    import gc
    from asyncio.events import Handle

    run = Handle._run  # type: ignore[attr-defined]
    looked: list[Any] = [0.0, _waited_s()]  # when, and what was seen: not before every callback, which would be slow
    collecting_s = [0.0, 0.0]  # when it began, and for how long in all

    def timed(handle: Any) -> None:
        began_s, collected_s = time.monotonic(), collecting_s[1]
        if began_s - looked[0] > LOOK_AGAIN_S:
            looked[:] = began_s, _waited_s()
        run(handle)
        wall_s = time.monotonic() - began_s
        if wall_s > MOST_CALLBACK_S:
            before = looked[1]
            waited_s = sum(max(0.0, now_s - before.get(thread, 0.0)) for thread, now_s in _waited_s().items())
            held_s = wall_s - waited_s - (collecting_s[1] - collected_s)
            if held_s > MOST_CALLBACK_S:
                task = getattr(handle._callback, "__self__", handle)
                test = os.environ.get("PYTEST_CURRENT_TEST", "")
                tell(f"the event loop stood still for {held_s:.3f} s (of {wall_s:.3f} s) at {test}: {task!r}")

    def collect(phase: str, _: Any) -> None:
        if phase == "start":
            collecting_s[0] = time.monotonic()
        else:
            collecting_s[1] += time.monotonic() - collecting_s[0]

    if not garbage_counts:
        gc.callbacks.append(collect)
    Handle._run = timed  # type: ignore[attr-defined]


if REPORT in os.environ and FOLDERS in os.environ and __name__ == "sitecustomize":
    watch(os.environ[REPORT], os.environ[FOLDERS].split(os.pathsep))
