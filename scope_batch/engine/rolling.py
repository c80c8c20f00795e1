"""Memories of self-attention that roll: a sink that stays and a ring whose oldest frames are overwritten.

The first `sink` latent frames of a sequence keep their slots for ever. Later ones share the remaining slots: frame f
lies in slot `sink + (f - sink) % (window - sink)`, so that a new frame overwrites the oldest and nothing is moved.
"""

from __future__ import annotations

from dataclasses import dataclass

from scope_batch.chunk import Chunk
from scope_batch.engine.kv_cache import CacheSize, KVCache, Pass, Span


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """`window` latent frames in all, the first `sink` of a sequence among them for good."""

    window: int
    sink: int

    def slot(self, frame: int) -> int:
        if frame < self.window:
            return frame
        return self.sink + (frame - self.sink) % (self.window - self.sink)

    def _spans(self, first: int, start: int, end: int) -> tuple[Span, ...]:
        """Store frames first .. end - 1 of a pass that begins at `start`, as few contiguous spans as possible."""
        spans: list[Span] = []
        for frame in range(first, end):
            source, slot = frame - start, self.slot(frame)
            if spans and spans[-1][1] + spans[-1][2] == slot:
                spans[-1] = (spans[-1][0], spans[-1][1], spans[-1][2] + 1)
            else:
                spans.append((source, slot, 1))
        return tuple(spans)

    def chunk(self, start: int, frames: int) -> Pass:
        """A pass over a chunk: all its frames are stored (again and again, in every denoising step)."""
        if frames > self.window - (self.sink if start else 0):
            raise ValueError(f"a chunk of {frames} latent frames does not fit a window of {self.window}")
        end = start + frames
        return Pass(start, frames, self._spans(start, start, end), min(end, self.window))

    def places(self, end: int) -> list[int]:
        """Of each slot attended to before frame `end`: its place, the sink first, then the rest in time order."""
        oldest = max(self.sink, end - (self.window - self.sink))
        places = list(range(min(end, self.window)))
        for frame in range(oldest, end):
            places[self.slot(frame)] = self.sink + frame - oldest
        return places

    def recache(self, end: int) -> Pass:
        """A pass over the latest frames before `end` that renews their keys under a new prompt.

        Up to `window` frames: everything is rewritten, the sink too. Beyond: the sink keeps its keys, the ring is
        rewritten, and the first frames of the pass only ask.
        """
        frames = min(end, self.window)
        start = end - frames
        first = 0 if start == 0 else end - (self.window - self.sink)
        return Pass(start, frames, self._spans(first, start, end), frames)


class RollingMemory(KVCache):
    """Keys carry their own rotary position, that of the frame in the sequence. See `memory.Memory`."""

    def __init__(self, window: RollingWindow, size: CacheSize, *, ahead: int = 0) -> None:
        super().__init__(ahead + window.window, size, ahead=ahead)
        self.window = window

    def forget(self) -> None:
        """Nothing to do: a sequence attends to no slot that it has not written."""

    def renewal(self, chunk: Chunk) -> Pass | None:
        return self.window.recache(chunk.start_latent) if chunk.recache else None

    def begin(self, chunk: Chunk) -> Pass:
        return self.window.chunk(chunk.start_latent, chunk.latents)

    def end(self, chunk: Chunk) -> None:
        """Nothing to do: the passes have left all there is."""
