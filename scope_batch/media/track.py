"""All placements of one kind along the delivered frames: which of them shows where."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from scope_batch.core.plan import Plan
from scope_batch.core.timeline import Kind, Placement
from scope_batch.media.processed import Processed
from scope_batch.media.reel import Pixels, Reels, to_bytes, to_unit
from scope_batch.processors.chain import Chain


class Track:
    """Frames are delivered frames; beyond the last one, the last one shows."""

    def __init__(self, plan: Plan, kind: Kind, reels: Reels) -> None:
        self._placements = tuple(placement for placement in plan.placements if placement.material.kind == kind)
        self._last = plan.num_frames - 1
        self._reels = reels
        self._processed = _processed_control(self._placements, plan, self._read) if kind == "frames" else None

    def covers(self, frame: int) -> bool:
        return self._showing(frame) is not None

    def frame(self, frame: int) -> Pixels | None:
        """What shows at `frame`, None where nothing covers it. Raises JobError if it cannot be read or decoded."""
        placement = self._showing(frame)
        if placement is None:
            return None
        frame = min(frame, self._last)
        if placement.processed and self._processed is not None:
            return to_unit(self._processed.frame(frame))
        return self._read(placement, frame)

    def nearest(self, frame: int) -> Pixels:
        """What shows at `frame`, or else at the covered frame next to it, the earlier of two."""
        found = self.frame(frame)
        if found is not None:
            return found
        frame = min(frame, self._last)
        spans = [(p.first_frame, min(self._end(p) - 1, self._last)) for p in self._placements]
        ends = [end for span in spans for end in span if span[0] <= span[1]]
        found = self.frame(min(ends, key=lambda end: (abs(end - frame), end)))
        assert found is not None
        return found

    def _read(self, placement: Placement, frame: int) -> Pixels:
        reel = self._reels.of(placement)
        index = frame - placement.first_frame
        return reel.frame(index % reel.frames if placement.fill == "loop" else min(index, reel.frames - 1))

    def _showing(self, frame: int) -> Placement | None:
        frame = min(frame, self._last)
        for placement in reversed(self._placements):
            if placement.first_frame <= frame < placement.end_frame and frame < self._end(placement):
                return placement
        return None

    def _end(self, placement: Placement) -> int:
        if placement.fill != "none":
            return placement.end_frame
        return min(placement.end_frame, placement.first_frame + self._reels.of(placement).frames)


def _processed_control(
    placements: Iterable[Placement], plan: Plan, read: Callable[[Placement, int], Pixels]
) -> Processed | None:
    """The input video that steers through VACE, which covers every delivered frame."""
    found = next((placement for placement in placements if placement.processed), None)
    if found is None:
        return None
    span = (found.first_frame, found.end_frame)
    return Processed(
        Chain.of(plan.pre_processors), (plan.height, plan.width), [span], lambda frame: to_bytes(read(found, frame))
    )
