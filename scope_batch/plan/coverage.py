"""Which stretches of the timeline are covered, asked from left to right."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

Span = tuple[int, int]
"""Delivered frames first .. end - 1."""


class Coverage:
    """Spans may be added at any time; questions must move to the right, so that each span is looked at once."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._waiting = [*spans]
        heapq.heapify(self._waiting)
        self._until = 0

    def add(self, first: int, end: int) -> None:
        heapq.heappush(self._waiting, (first, end))

    def covers(self, first: int, end: int) -> bool:
        """Whether a frame of first .. end - 1 is covered. Neither `first` nor `end` may be less than before."""
        while self._waiting and self._waiting[0][0] < end:
            self._until = max(self._until, heapq.heappop(self._waiting)[1])
        return self._until > first
