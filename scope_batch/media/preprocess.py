"""Applies the pre-processors to input frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from scope_batch.core.frames import Frames
from scope_batch.processors.chain import Chain

BLOCK = 12
"""Frames per call of the chain; the result does not depend on it."""


class Processed:
    """Applies the chain to the frames of each span as one stream, from the span's first frame to its last.

    source  frame number -> uint8 [H, W, 3]; spans: (first, end), without overlap.

    Reading in ascending order, with steps back of one frame, processes each frame once; a longer step back restarts the
    span.
    """

    def __init__(
        self, chain: Chain, size: tuple[int, int], spans: Iterable[tuple[int, int]], source: Callable[[int], Frames]
    ) -> None:
        self._chain, self._size, self._spans, self._source = chain, size, tuple(spans), source
        self._next = self._end = 0
        self._ready: dict[int, Frames] = {}

    def frame(self, frame: int) -> Frames:
        """Return a frame of one of the spans, uint8 [H, W, 3]. Raises the errors of the source and of processors."""
        if not min(self._ready, default=self._next) <= frame < self._end:
            self._begin(next(span for span in self._spans if span[0] <= frame < span[1]))
        while frame not in self._ready:
            self._feed()
            for number in [number for number in self._ready if number < frame - 1]:
                del self._ready[number]
        return self._ready[frame]

    def _begin(self, span: tuple[int, int]) -> None:
        self._next, self._end = span
        self._finished = self._next
        self._ready = {}
        self._stream = self._chain.open(*self._size)

    def _feed(self) -> None:
        block = range(self._next, min(self._next + BLOCK, self._end))
        self._take(self._stream.process(np.stack([self._source(frame) for frame in block])))
        self._next = block.stop
        if self._next == self._end:
            self._take(self._stream.flush())

    def _take(self, frames: Frames) -> None:
        for frame in frames:
            self._ready[self._finished] = frame
            self._finished += 1
