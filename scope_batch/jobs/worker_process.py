"""Starts a worker process and talks to it in JSON over one pipe, from the side of the supervisor."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from scope_batch.jobs.child_process import ChildProcess
from scope_batch.jobs.worker import LoadOrder, Order, work
from scope_batch.render.options import RenderOptions


class WorkerProcess(ChildProcess):
    """One worker. Methods that send may be called from any thread; `receive` from one only."""

    def __init__(self, options: RenderOptions) -> None:
        """Start the process. Raises OSError if the system has no room for one."""
        super().__init__(work, options)
        self.has_answered = False
        """A message has come, so it has started."""

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
            message: dict[str, Any] = json.loads(self.receive_bytes(timeout_s))
        except ValueError as error:
            raise EOFError from error
        self.has_answered = True
        return message

    def _send(self, message: dict[str, Any]) -> None:
        self.send_bytes(json.dumps(message).encode())
