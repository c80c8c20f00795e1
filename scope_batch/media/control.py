"""The frames that a chunk's VACE context is encoded from: control frames, masks and stills laid over each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.frames import ControlFrames
from scope_batch.core.plan import Chunk, Plan, Vace
from scope_batch.media.masks import GENERATE_ABOVE
from scope_batch.media.reel import Reels
from scope_batch.media.stills import Stills
from scope_batch.media.track import Track

Values = NDArray[np.float32]


class Control:
    """From the bottom: gray with mask 1, the frames of the timeline, its masks, the chunk's stills in their order."""

    def __init__(self, plan: Plan, reels: Reels, stills: Stills) -> None:
        self._size = (plan.height, plan.width)
        self._frames = Track(plan, "frames", reels)
        self._masks = Track(plan, "masks", reels)
        self._stills = stills

    def of(self, chunk: Chunk) -> ControlFrames:
        """Raises JobError with the file's name if something cannot be read or decoded."""
        assert chunk.vace is not None
        before = chunk.first_frame - chunk.lead
        frames, masks = self._timeline(before, chunk.lead + chunk.frames)
        self._lay_stills(chunk.vace, frames[chunk.lead :], masks[chunk.lead :])
        if chunk.lead and not (self._frames.covers(before) or self._masks.covers(before)):
            frames[0], masks[0] = frames[1], masks[1]
        return ControlFrames(frames, masks, *_gray(frames, masks))

    def _timeline(self, first_frame: int, count: int) -> tuple[Values, Values]:
        frames = np.zeros((count, *self._size, 3), np.float32)
        masks = np.ones((count, *self._size), np.float32)
        for track, rows in ((self._frames, frames), (self._masks, masks)):
            for i in range(count):
                if (shown := track.frame(first_frame + i)) is not None:
                    rows[i] = shown
        return frames, masks

    def _lay_stills(self, vace: Vace, frames: Values, masks: Values) -> None:
        """Each image shows where the timeline's mask says "generate", and is kept there."""
        generate = masks > GENERATE_ABOVE if vace.stills else masks
        for still in vace.stills:
            span = slice(still.first, still.end)
            np.copyto(frames[span], self._stills(still.path), where=generate[span, ..., None])
            masks[span] = 0


def _gray(frames: Values, masks: Values) -> tuple[bool, bool]:
    """Whether the pixels with mask <= 0.5, and those with mask > 0.5, are all 0."""
    generate = masks > GENERATE_ABOVE
    if not frames.any():
        return True, True
    if generate.all():
        return True, False
    if not generate.any():
        return False, True
    painted = frames.any(axis=-1)
    return not (painted & ~generate).any(), not (painted & generate).any()
