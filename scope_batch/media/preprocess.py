"""Passes input frames through the pre-processors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from scope_batch.core.frames import Frames
from scope_batch.processors.chain import Chain

BLOCK = 12
"""Frames that go in together; they come out the same however many there are."""


class Processed:
    """The frames of each span pass the chain as one stream, in order from the span's first frame to its last.

    source  frame number -> uint8 [H, W, 3]; spans: (first, end), apart from each other.

    Ascending reading, with steps back of one frame, passes each frame once; a longer step back begins the span anew.
    """

    def __init__(
        self, chain: Chain, size: tuple[int, int], spans: Iterable[tuple[int, int]], source: Callable[[int], Frames]
    ) -> None:
        self._chain, self._size, self._spans, self._source = chain, size, tuple(spans), source
        self._next = self._end = 0
        self._made: dict[int, Frames] = {}

    def frame(self, frame: int) -> Frames:
        """uint8 [H, W, 3]; `frame` lies in one of the spans. Raises what the source or a processor raises."""
        if not min(self._made, default=self._next) <= frame < self._end:
            self._begin(next(span for span in self._spans if span[0] <= frame < span[1]))
        while frame not in self._made:
            self._feed()
            for number in [number for number in self._made if number < frame - 1]:
                del self._made[number]
        return self._made[frame]

    def _begin(self, span: tuple[int, int]) -> None:
        self._next, self._end = span
        self._finished = self._next
        self._made = {}
        self._stream = self._chain.open(*self._size)

    def _feed(self) -> None:
        block = range(self._next, min(self._next + BLOCK, self._end))
        self._take(self._stream.process(np.stack([self._source(frame) for frame in block])))
        self._next = block.stop
        if self._next == self._end:
            self._take(self._stream.flush())

    def _take(self, frames: Frames) -> None:
        for frame in frames:
            self._made[self._finished] = frame
            self._finished += 1
