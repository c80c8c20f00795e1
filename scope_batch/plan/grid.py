"""What `chunk: k` counts: the chunks of the engine, or the protocol's slots of twelve delivered frames."""

from __future__ import annotations

from dataclasses import dataclass

from scope_batch.core import geometry


@dataclass(frozen=True, slots=True)
class Grid:
    """by_slots: `chunk: k` is slot k; a chunk takes the entry of the slot that it begins in, to the nearest half."""

    by_slots: bool
    num_frames: int

    def position(self, index: int, first_frame: int) -> int:
        """The `chunk:` whose entry the chunk takes; several chunks may share a slot."""
        return geometry.protocol_slot(first_frame, self.num_frames) if self.by_slots else index

    def missing(self, position: int, chunks: int) -> str:
        """Why no chunk took the entry of `position`; `chunks`: how many the job turned out to have."""
        noun, count = ("slot", self._slots) if self.by_slots else ("chunk", chunks)
        if position < count:
            return f"no chunk begins near slot {position} (cuts have moved them)"
        has = f"{noun}s 0 to {count - 1}" if count > 1 else f"only {noun} 0"
        return f"there is no such {noun}; this job has {has}"

    @property
    def _slots(self) -> int:
        return -(-self.num_frames // geometry.PROTOCOL_SLOT_FRAMES)
