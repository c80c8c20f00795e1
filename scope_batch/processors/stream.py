"""Streams that are held to what their processors declare, one behind another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from scope_batch.errors import UnavailableError
from scope_batch.plugins import foreign
from scope_batch.processors.chain import Stage

if TYPE_CHECKING:
    from scope_batch.session import Frames


class ChainStream:
    """The stream of a whole chain; see `Stream`. It takes blocks of no frames too, and returns frames after a flush."""

    def __init__(self, stages: Iterable[Stage], height: int, width: int) -> None:
        self._size = (height, width)
        self._streams: list[HeldStream] = []
        for stage in stages:
            self._streams.append(HeldStream(stage, *self._size))
            self._size = self._streams[-1].size_out

    def process(self, frames: Frames) -> Frames:
        return self._through(self._streams, frames)

    def flush(self) -> Frames:
        """What every stage still holds, passed through those behind it."""
        left = [self._through(self._streams[index + 1 :], stream.flush()) for index, stream in enumerate(self._streams)]
        return np.concatenate([np.empty((0, *self._size, 3), np.uint8), *left])

    @staticmethod
    def _through(streams: Iterable[HeldStream], frames: Frames) -> Frames:
        for stream in streams:
            frames = stream.process(frames)
        return frames


class HeldStream:
    """One processor's stream; UnavailableError says so if it returns something else than it has declared."""

    def __init__(self, stage: Stage, height: int, width: int) -> None:
        self.size_out = stage.size_out(height, width)
        self._stage = stage
        self._stream = stage.open(height, width)
        self._taken = self._returned = 0

    def process(self, frames: Frames) -> Frames:
        if not len(frames):
            return self._nothing()
        given = frames.view()
        given.flags.writeable = False
        with foreign(self._stage.where):
            made = self._stream.process(given)
        self._taken += len(frames)
        return self._checked(made, self._stage.frames_ready(self._taken))

    def flush(self) -> Frames:
        if not self._taken:
            return self._nothing()
        with foreign(self._stage.where):
            left = self._stream.flush()
        return self._checked(self._nothing() if left is None else left, self._stage.frames_out(self._taken))

    def _nothing(self) -> Frames:
        return np.empty((0, *self.size_out, 3), np.uint8)

    def _checked(self, made: Frames, expected: int) -> Frames:
        shape = (expected - self._returned, *self.size_out, 3)
        if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape != shape:
            found = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else type(made).__name__
            raise UnavailableError(
                f"{self._stage.where or f'the processor {self._stage.id!r}'}: returned {found} after {self._taken} "
                f"frames, declared uint8 {shape}"
            )
        self._returned = expected
        return made
