"""Handles signals and the time limit: a first signal stops after the current chunk, a second one stops at once."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from scope_batch.errors import Interrupted, TimeLimitError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CLEAN_UP_S = 3.0
"""Time that the clean-up has after the second signal before another one interrupts it."""


class Signals:
    """While open, makes `check` raise after SIGINT, SIGTERM or SIGHUP; implements `render.Stop`.

    timeout_s  `check` raises TimeLimitError once this many seconds have passed since entering.
    announce   called on a thread of its own with the number of a signal, or with None when the time is up.
    busy       returns True while a chunk is in flight; without one, the first signal stops the render at once.

    Outside the main thread no handler is installed and only the time limit counts.
    """

    def __init__(
        self,
        timeout_s: float | None = None,
        announce: Callable[[int | None], None] = lambda _: None,
        busy: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._announce = announce
        self._busy = busy
        self._clock = clock
        self._started_s = clock()
        self._signum: int | None = None
        self._raised_at_s: float | None = None
        self._previous: dict[signal.Signals, Any] = {}
        # A handler runs between any two steps of the main thread, so it may take no lock: `put` is reentrant.
        self._events: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._announcer = threading.Thread(target=self._announce_events, name="signal-announcer", daemon=True)

    def __enter__(self) -> Self:
        self._started_s = self._clock()
        self._announcer.start()
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # Under `nohup`, SIGHUP stays ignored.
                if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._events.put(None)
        self._announcer.join(1.0)

    def check(self) -> None:
        """Raise Interrupted or TimeLimitError if a signal has come or the time is up."""
        if self._signum is not None:
            raise Interrupted(self._signum)
        if self._timeout_s is not None and self._clock() - self._started_s >= self._timeout_s:
            raise TimeLimitError(f"the time limit of {self._timeout_s:g} s is over")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        first = self._signum is None
        if first:
            self._signum = number
            if self._busy():
                self._events.put(number)
                return
        elif number == signal.SIGHUP:
            return  # a closing terminal sends it more than once: kernel and shell
        now_s = self._clock()
        if self._raised_at_s is None or now_s - self._raised_at_s >= _CLEAN_UP_S:
            self._raised_at_s = now_s
            raise Interrupted(number, now=True)

    def _announce_events(self) -> None:
        wait_s = self._timeout_s
        while True:
            try:
                number = self._events.get(timeout=wait_s)
            except queue.Empty:
                self._announce(None)
                wait_s = None
                continue
            if number is None:
                return
            self._announce(number)
            wait_s = None
