"""Ends the wait for a stalled child process or reader once the render should stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from scope_batch.errors import ScopeBatchError

STALL_S = 10.0
"""Longest stall in seconds after the time limit or a signal."""

POLL_S = 0.2
"""Interval in seconds at which a wait checks for progress."""

CheckStop = Callable[[], None]
"""Raises Interrupted or TimeLimitError once the render should stop; called from any thread."""


def never_stop() -> None:
    """A `CheckStop` for callers without signals or time limit."""


class Patience:
    """Detects a stall of one transfer or one child process."""

    def __init__(self, name: str, check_stop: CheckStop, cpu_ticks: Callable[[], int | None] = lambda: None) -> None:
        """name: the process or reader, for the error. cpu_ticks: CPU time of a child, which grows while it works."""
        self._name = name
        self._check_stop = check_stop
        self._cpu_ticks = cpu_ticks
        self._ticks: int | None = None
        self._moved_s = time.monotonic()

    def moved(self) -> None:
        """Note progress: bytes were transferred, or a new wait begins."""
        self._moved_s = time.monotonic()

    def check(self) -> None:
        """Called repeatedly during a wait. Raises the error of `check_stop` after a stall of `STALL_S`."""
        ticks = self._cpu_ticks()
        if ticks != self._ticks:
            self._ticks = ticks
            self.moved()
        if time.monotonic() - self._moved_s < STALL_S:
            return
        try:
            self._check_stop()
        except ScopeBatchError as stop:
            stop.add_note(f"{self._name} stood still for {STALL_S:g} s and was given up")
            raise
