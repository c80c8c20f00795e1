"""Decides before which chunks the streaming state is saved."""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import monotonic

LARGEST_SHARE = 0.02
"""The most of the render's time that saving states may cost."""
SHORTEST_PAUSE_S = 120.0
"""At least so long between two states: a state has gigabytes, and a disk wears out by what is written to it."""
WRITING_SHARE = 0.1
"""The most of the time during which a state is being written in the background."""


FIRST_COPY_BYTES_PER_S = 5e9
"""How fast the first state of a session is copied, since its host memory is pinned then; measured: 6.8e9 on an H200."""


class Cadence:
    """Every `every` chunks, or without a number as often as the shares above allow; before the chunks `keep` always."""

    def __init__(
        self,
        every: int | None = None,
        keep: Collection[int] = (),
        state_bytes: int = 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """state_bytes  expected size of a state, by which the first pause is measured."""
        self._every, self._keep, self._clock = every, keep, clock
        self._last_s = clock()
        self._pause_s = max(SHORTEST_PAUSE_S, state_bytes / FIRST_COPY_BYTES_PER_S / LARGEST_SHARE)
        self._last_chunk = 0

    def begin(self, chunk: int) -> None:
        """The render starts with this chunk; nothing before it has to be saved."""
        self._last_chunk, self._last_s = chunk, self._clock()

    def is_due(self, chunk: int) -> bool:
        """Whether to save the state before `chunk`, whose predecessor has just been made."""
        if chunk in self._keep:
            return True
        if self._every is not None:
            return chunk - self._last_chunk >= self._every
        return self._clock() - self._last_s >= self._pause_s

    def saved(self, chunk: int) -> None:
        """The state before `chunk` is about to be written."""
        self._last_chunk, self._last_s = chunk, self._clock()

    def cost(self, blocked_s: float, writing_s: float) -> None:
        """What the last state has cost: how long the render stood still for it, and how long it was being written."""
        self._pause_s = max(SHORTEST_PAUSE_S, blocked_s / LARGEST_SHARE, writing_s / WRITING_SHARE)
