"""The next chunk's frames are read while the current chunk is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from scope_batch.media.closing import Closing
from scope_batch.media.timeline import Timeline


class Prefetch(Closing):
    """Reads `windows` (first frame, count) of a timeline in order, one ahead, on a thread of its own.

    Owns the timeline: `close` ends the thread, then the timeline and its decoder.
    """

    def __init__(self, timeline: Timeline, windows: Iterable[tuple[int, int]]) -> None:
        self._timeline = timeline
        self._windows = iter(windows)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="input")
        self._reading: deque[Future[NDArray[np.uint8]]] = deque()
        self._read_ahead()

    def get(self) -> NDArray[np.uint8]:
        """The next window, uint8 [count, H, W, 3]. Raises what its reading raised; IndexError after the last."""
        frames = self._reading.popleft().result()
        self._read_ahead()
        return frames

    def close(self) -> None:
        """May be called again, and at any time: a read that is under way is broken off."""
        for future in self._reading:
            future.cancel()
        self._timeline.interrupt()
        self._pool.shutdown()
        self._timeline.close()

    def _read_ahead(self) -> None:
        window = next(self._windows, None)
        if window is not None:
            self._reading.append(self._pool.submit(self._timeline.window, *window))
