"""Tells whoever listens which job has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the job with the id `job`. is_news: it only got further; its state, and with it the place of the
    jobs behind it, stayed."""

    job: str
    is_news: bool = False


class Listeners:
    """Those who listen. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._all: list[Callable[[Change], None]] = []
        self._lock = threading.Lock()
        """A lock of its own: who begins to listen does not wait for the disk."""

    def tell(self, change: Change) -> None:
        with self._lock:
            for listener in self._all:
                listener(change)

    @contextmanager
    def listening(self, listener: Callable[[Change], None]) -> Iterator[None]:
        """Call `listener` with every change; it must not block or raise."""
        with self._lock:
            self._all.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._all.remove(listener)
