"""Defines what a scheduler and its workers tell each other, and what a worker is to a scheduler."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Protocol

from scope_batch.errors import Interrupted, TimeLimitError
from scope_batch.events import Event
from scope_batch.job import Job
from scope_batch.render.options import RenderOptions


@dataclass(frozen=True, slots=True)
class Order:
    """A job to render.

    vace, expected_bytes  what the engine must do for all jobs of these models, so that it is loaded once.
    """

    job: Job
    stem: str
    options: RenderOptions
    vace: bool = False
    expected_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """The render ends with this error: after the chunk in flight, or at once if no chunk is, or `now` is set."""

    error: Interrupted | TimeLimitError
    now: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How an order ended; its events have been sent before.

    error      None: done, or nothing to do. traceback: its traceback as text.
    idle_s     how long the worker had waited for the order, in seconds; 0 for the first one.
    """

    error: BaseException | None = None
    traceback: str = ""
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker, which was not ready when it was opened, takes orders from now on.

    host, process  where: "node-3", "process 4711".
    """

    host: str
    process: str


@dataclass(frozen=True, slots=True)
class Death:
    """The worker is gone. reason: "the worker process was killed by SIGKILL"."""

    reason: str


Message = Event | Ready | Result | Death


class Worker(Protocol):
    """Renders one order after another, somewhere. It tells a scheduler's inbox the events, a result for each order,
    and its death, if it was not asked to leave."""

    @property
    def name(self) -> str:
        """For messages: "process 4711"."""
        ...

    @property
    def starts_ready(self) -> bool:
        """False if it takes orders only once it has told the inbox that it is ready."""
        ...

    def start(self, order: Order) -> None:
        """Begin to render. Called when there is no other order in work."""
        ...

    def stop(self, stop: Stop) -> None:
        """End the order in work early; its result still comes."""
        ...

    def leave(self) -> None:
        """End; there is no order in work."""
        ...

    def kill(self) -> None:
        """End at once, whatever is in work."""
        ...

    def join(self) -> None:
        """Wait until it has left or was killed."""
        ...


Inbox = queue.SimpleQueue[tuple[Worker | None, Message | Stop]]
"""Messages of workers to their scheduler; those of nobody are the scheduler's own."""
