"""Chunk after chunk, what each is made from."""

from __future__ import annotations

from collections import deque
from itertools import groupby

import numpy as np

from scope_batch.core.frames import NO_INPUTS, ChunkInputs, Frames
from scope_batch.core.plan import Chunk, Plan
from scope_batch.media.closing import Closing
from scope_batch.media.control import Control
from scope_batch.media.patience import CheckStop, never_stop
from scope_batch.media.processed import Processed
from scope_batch.media.read_ahead import ReadAhead
from scope_batch.media.reel import Reels
from scope_batch.media.stills import Stills
from scope_batch.media.track import Track
from scope_batch.processors.chain import Chain


class Inputs(Closing):
    """The inputs of a plan's chunks in order, each read while the chunk before it is made."""

    def __init__(self, plan: Plan) -> None:
        self._chunks = deque(plan.chunks)
        self._ahead = ReadAhead(InputReader(plan), filter(_has_inputs, plan.chunks))

    def get(self, check_stop: CheckStop = never_stop) -> ChunkInputs:
        """The next chunk's; arrays are the caller's own. IndexError after the last.

        Raises JobError, with the file's name and the frame's number in it, if something cannot be read or decoded; what
        `check_stop` raises if the end has been asked for and the inputs do not come.
        """
        return self._ahead.get(check_stop) if _has_inputs(self._chunks.popleft()) else NO_INPUTS

    def close(self) -> None:
        """May be called again, and at any time: a read that is under way is broken off."""
        self._ahead.close()


def open_inputs(plan: Plan) -> Inputs:
    """Start reading: the first chunk's inputs at once, every other one ahead. A plan without any costs nothing."""
    return Inputs(plan)


class InputReader(Closing):
    """Reads the inputs of any chunk of a plan; ascending chunks are fast."""

    def __init__(self, plan: Plan) -> None:
        self._size = (plan.height, plan.width)
        self._reels = Reels(plan)
        self._stills = Stills(plan.height, plan.width)
        self._video = Track(plan, "video", self._reels)
        self._processed = _processed_video(plan, self._video)
        self._last = plan.num_frames - 1
        self._control = Control(plan, self._reels, self._stills)

    def read(self, chunk: Chunk) -> ChunkInputs:
        self._reels.close_before(chunk.first_frame - 1)
        vace = chunk.vace
        return ChunkInputs(
            pixels=self._pixels(chunk) if chunk.mode == "video" else None,
            control=self._control.of(chunk) if vace is not None and vace.has_frames else None,
            reference=self._stills(vace.reference).copy() if vace is not None and vace.reference else None,
        )

    def interrupt(self) -> None:
        """From another thread: make a `read` that is under way fail soon."""
        self._reels.interrupt()

    def close(self) -> None:
        self._reels.close()

    def _pixels(self, chunk: Chunk) -> Frames:
        pixels = np.empty((chunk.frames, *self._size, 3), np.uint8)
        for i in range(chunk.frames):
            pixels[i] = self._frame(min(chunk.first_frame + i, self._last))
        return pixels

    def _frame(self, frame: int) -> Frames:
        return self._video.nearest(frame) if self._processed is None else self._processed.frame(frame)


def _processed_video(plan: Plan, video: Track) -> Processed | None:
    """A stream goes on over cuts, as the input does; chunks without input video end it."""
    if not plan.pre_processors or plan.pre_processor_output != "video":
        return None
    runs = [list(run) for mode, run in groupby(plan.chunks, key=lambda chunk: chunk.mode) if mode == "video"]
    spans = [(run[0].first_frame, run[-1].last_frame + 1) for run in runs]
    return Processed(Chain.of(plan.pre_processors), (plan.height, plan.width), spans, video.nearest)


def _has_inputs(chunk: Chunk) -> bool:
    vace = chunk.vace
    return chunk.mode == "video" or (vace is not None and (vace.has_frames or vace.reference is not None))
