"""Runs a worker in a process of this machine."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Callable

from scope_batch.farm.devices import Device
from scope_batch.farm.messages import Death, Inbox, Order, Stop
from scope_batch.farm.worker import work
from scope_batch.jobs.child_process import EXIT_WAIT_S, ChildProcess, how_it_ended


class LocalWorker:
    """A worker process, and a thread that puts what it tells into `inbox`."""

    starts_ready = True

    def __init__(self, device: Device, inbox: Inbox, prepare: Callable[[], None]) -> None:
        """Start the process. Raises OSError if the system has no room for one."""
        self._inbox = inbox
        self._process = ChildProcess(work, device, prepare)
        self._name = f"process {self._process.pid}"
        self._thread = threading.Thread(target=self._listen, name=f"worker on {device.name}", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._name

    def start(self, order: Order) -> None:
        self._process.send_bytes(pickle.dumps(order))

    def stop(self, stop: Stop) -> None:
        self._process.send_bytes(pickle.dumps(stop))

    def leave(self) -> None:
        self._process.send_bytes(pickle.dumps(None))

    def kill(self) -> None:
        with contextlib.suppress(ValueError):  # it has ended, and the thread has noticed
            self._process.kill()

    def join(self) -> None:
        self._thread.join(EXIT_WAIT_S)
        if self._thread.is_alive():
            self.kill()
            self._thread.join()

    def _listen(self) -> None:
        try:
            while True:
                self._inbox.put((self, pickle.loads(self._process.receive_bytes())))
        except EOFError:
            self._inbox.put((self, Death(f"the worker process {how_it_ended(self._process.close())}")))
