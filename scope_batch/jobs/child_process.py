"""Starts a process of this program and exchanges messages with it over one pipe, from the side of the parent."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable

_SPAWN = multiprocessing.get_context("spawn")
"""Never forked: CUDA, and the locks of other threads, do not survive a fork."""
EXIT_WAIT_S = 15.0
"""So long a child may take to leave, in seconds, before it is killed."""
MAX_LOST_WORKERS = 3
"""A job that has lost so many workers fails."""
_starting = threading.Lock()


class ChildProcess:
    """One child. `send` may be called from any thread; `receive` from one only."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        """Start `target(connection, *arguments)` in a process. Raises OSError if the system has no room for one."""
        self._connection, theirs = _SPAWN.Pipe()
        with theirs, _starting:
            self._process = _SPAWN.Process(
                target=target, args=(theirs, *arguments), name="scope-batch worker", daemon=True
            )
            try:
                self._process.start()
            except BaseException:
                self._connection.close()
                raise
        atexit.register(self._process.kill)  # before multiprocessing waits for it, in a parent that ends unexpectedly
        self._sending = threading.Lock()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def send_bytes(self, message: bytes) -> None:
        """Send a message; one for a child that has ended is dropped, `receive_bytes` notices it."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.send_bytes(message)

    def receive_bytes(self, timeout_s: float | None = None) -> bytes:
        """Return the next message. Raises EOFError if the child has ended, TimeoutError if none comes in time."""
        try:
            if not self._connection.poll(timeout_s):
                raise TimeoutError
            return self._connection.recv_bytes()
        except TimeoutError:
            raise
        except OSError as error:  # a killed child may leave half a message
            raise EOFError from error

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> int:
        """Close the pipe, wait for the end of the process and return its exit status; negative for a signal."""
        with self._sending:
            self._connection.close()
        self._process.join(EXIT_WAIT_S)
        self._process.kill()  # has no effect on a process that has ended
        self._process.join()
        status = self._process.exitcode
        atexit.unregister(self._process.kill)
        self._process.close()
        assert status is not None
        return status


def how_it_ended(status: int) -> str:
    """Describe the exit status of a worker: "was killed by SIGKILL", "ended with status 1"."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
