"""Ends the wait for a child or a reader that stands still after the end of the render has been asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

from scope_batch.errors import ScopeBatchError

STALL_S = 10.0
"""How long something may stand still when the time limit is over or a signal has come."""

POLL_S = 0.2
"""How often a wait is broken off to look whether something still moves."""

CheckStop = Callable[[], None]
"""Raises Interrupted or TimeLimitError once the end of the render has been asked for; called from any thread."""


def never_stop() -> None:
    """For callers without signals or time limit."""


class Patience:
    """Watches one transfer, or one child."""

    def __init__(self, name: str, check_stop: CheckStop, cpu_ticks: Callable[[], int | None] = lambda: None) -> None:
        """name: of what stands still, for the error. cpu_ticks: of a child; they grow as long as it computes."""
        self._name = name
        self._check_stop = check_stop
        self._cpu_ticks = cpu_ticks
        self._ticks: int | None = None
        self._moved_s = time.monotonic()

    def moved(self) -> None:
        """Bytes have been taken, or a new wait begins."""
        self._moved_s = time.monotonic()

    def check(self) -> None:
        """Called again and again while nothing is taken. Raises what `check_stop` raises, if it has taken too long."""
        ticks = self._cpu_ticks()
        if ticks != self._ticks:
            self._ticks = ticks
            self.moved()
        if time.monotonic() - self._moved_s < STALL_S:
            return
        try:
            self._check_stop()
        except ScopeBatchError as asked:
            asked.add_note(f"{self._name} stood still for {STALL_S:g} s and was given up")
            raise
