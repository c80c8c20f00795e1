"""Maps latent frames to the slots of a window: the first frames stay, later ones share a ring. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from scope_batch.engine.forward_span import ForwardSpan, Write


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """Assigns latent frames to `size` slots: the first `sink` frames of a sequence stay, later frames share a ring.

    Frame f is stored in slot `sink + (f - sink) % (size - sink)`, so that a new frame overwrites the oldest and no
    stored frame is moved.
    """

    size: int
    sink: int

    def slot(self, frame: int) -> int:
        """Return the slot of a latent frame, counted from the last cut."""
        if frame < self.size:
            return frame
        return self.sink + (frame - self.sink) % (self.size - self.sink)

    def chunk_span(self, start: int, frames: int) -> ForwardSpan:
        """Return the pass over a chunk, which stores all its frames. Every denoising step stores them again."""
        if frames > self.size - (self.sink if start else 0):
            raise ValueError(f"a chunk of {frames} latent frames does not fit a window of {self.size}")
        end = start + frames
        return ForwardSpan(start, frames, self._writes(start, start, end), min(end, self.size))

    def recache_span(self, end: int) -> ForwardSpan:
        """Return the pass over the last `size` frames before `end` that recomputes their keys and values.

        While the sequence fits the window, all slots are rewritten, the sink included. Later only
        the ring is rewritten: the first frames of the pass are query-only, their keys and values are not stored.
        """
        frames = min(end, self.size)
        start = end - frames
        first = 0 if start == 0 else end - (self.size - self.sink)
        return ForwardSpan(start, frames, self._writes(first, start, end), frames)

    def positions(self, end: int) -> tuple[int, ...]:
        """Return the position of each filled slot within the window: the sink first, then oldest to newest.

        end  number of frames in the sequence so far.
        """
        oldest = max(self.sink, end - (self.size - self.sink))
        positions = list(range(min(end, self.size)))
        for frame in range(oldest, end):
            positions[self.slot(frame)] = self.sink + frame - oldest
        return tuple(positions)

    def _writes(self, first: int, start: int, end: int) -> tuple[Write, ...]:
        """Return the writes that store frames first .. end - 1 of a pass that begins at frame `start`.

        Frames whose slots are contiguous share one write.
        """
        writes: list[Write] = []
        for frame in range(first, end):
            slot = self.slot(frame)
            if writes and writes[-1][1] + writes[-1][2] == slot:
                writes[-1] = (writes[-1][0], writes[-1][1], writes[-1][2] + 1)
            else:
                writes.append((frame - start, slot, 1))
        return tuple(writes)
