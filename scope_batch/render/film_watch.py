"""Measures the chunks of a render as they are written, and ends a render that looks worse than its job allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from scope_batch.core.frames import Frames
from scope_batch.core.stop_condition import Figures, StopCondition
from scope_batch.errors import DegradedError
from scope_batch.events import ChunkMeasured
from scope_batch.media.figures import FigureMeter


class FilmWatch:
    """The writer calls it with the frames that each chunk delivers; `events` hands on what it measured."""

    def __init__(self, conditions: Sequence[StopCondition] = ()) -> None:
        self._conditions = conditions
        self._meter = FigureMeter()
        self._first: dict[str, float] = {}
        self._measured: deque[ChunkMeasured] = deque()

    def __call__(self, frames: Frames) -> None:
        """Measure the next chunk. Raises DegradedError if it meets a condition of the job's `stop_if`."""
        found = self._meter.measure(frames)
        if found is None:
            return
        values = found.to_json()
        self._measured.append(ChunkMeasured(**values))
        figures: Figures = {name: value for name, value in values.items() if name != "chunk"}
        for name, value in figures.items():
            if value is not None:
                self._first.setdefault(name, value)
        for condition in self._conditions:
            if condition.is_met(self._first, figures):
                now, limit = figures[condition.figure], condition.limit_for(self._first)
                where = f"in chunk {found.chunk} {condition.figure} is {now:.4g}, the limit is {limit:.4g}"
                raise DegradedError(f"stop_if: {condition}: {where}")

    def events(self) -> Iterator[ChunkMeasured]:
        """Yield the figures of the chunks that were measured since the last call. May be called from another thread."""
        while self._measured:
            yield self._measured.popleft()
