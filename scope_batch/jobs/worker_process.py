"""Starts a worker process and talks to it over one pipe, from the side of the supervisor."""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import threading
from dataclasses import asdict
from typing import Any

from scope_batch.jobs.worker import LoadOrder, Order, work
from scope_batch.render.options import RenderOptions

_SPAWN = multiprocessing.get_context("spawn")
"""Never forked: CUDA, and the locks of other threads, do not survive a fork."""
EXIT_WAIT_S = 15.0
"""So long a worker may take to leave, in seconds, before it is killed."""
_starting = threading.Lock()


class WorkerProcess:
    """One worker. Methods that send may be called from any thread; `receive` from one only."""

    def __init__(self, options: RenderOptions) -> None:
        """Start the process. Raises OSError if the system has no room for one."""
        self._connection, theirs = _SPAWN.Pipe()
        with theirs, _starting:
            self._process = _SPAWN.Process(target=work, args=(theirs, options), name="scope-batch worker", daemon=True)
            try:
                self._process.start()
            except BaseException:
                self._connection.close()
                raise
        atexit.register(self._process.kill)  # before multiprocessing waits for it, in a server that ends unexpectedly
        self._sending = threading.Lock()
        self.has_answered = False
        """A message has come, so it has started."""

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def load(self, order: LoadOrder) -> None:
        self._send({"do": "load", **asdict(order)})

    def render(self, order: Order) -> None:
        self._send({"do": "render", **asdict(order)})

    def cancel(self, job: str) -> None:
        self._send({"do": "cancel", "job": job})

    def drain(self) -> None:
        """Let it end the chunk in flight, and leave."""
        self._send({"do": "drain"})

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """Return the next message. Raises EOFError if the worker has ended, TimeoutError if none comes in time."""
        try:
            if not self._connection.poll(timeout_s):
                raise TimeoutError
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:  # a killed worker may leave half a message
            raise EOFError from error
        self.has_answered = True
        return message

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

    def _send(self, message: dict[str, Any]) -> None:
        """Send a message; one for a worker that has ended is dropped, `receive` notices it."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.send_bytes(json.dumps(message).encode())
