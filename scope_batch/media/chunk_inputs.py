"""Composes the inputs of each chunk: video frames, control frames, masks, stills and reference image."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.frames import GENERATE_ABOVE, NO_INPUTS, ChunkInputs, ControlFrames, Frames
from scope_batch.core.plan import Chunk, Plan, Vace
from scope_batch.media.frame_reader import FrameReaders, Track, to_unit
from scope_batch.media.images import read_still
from scope_batch.media.patience import CheckStop, never_stop
from scope_batch.media.prefetch import ReadAhead
from scope_batch.media.preprocess import Processed
from scope_batch.media.resize import fit_frame
from scope_batch.media.source import Closing
from scope_batch.processors.chain import Chain


class Inputs(Closing):
    """Returns the inputs of a plan's chunks in order, each read while the previous chunk is generated."""

    def __init__(self, plan: Plan, first_chunk: int = 0, pre: Chain | None = None) -> None:
        chunks = plan.chunks[first_chunk:]
        self._chunks = deque(chunks)
        self._ahead = ReadAhead(InputReader(plan, pre), filter(_has_inputs, chunks))

    def get(self, check_stop: CheckStop = never_stop) -> ChunkInputs:
        """Return the inputs of the next chunk; the caller owns the arrays. Raises IndexError after the last.

        Raises JobError, with the names of file and frame, if an input cannot be read or decoded; and the error of
        `check_stop` if the render should stop while reading stalls.
        """
        return self._ahead.get(check_stop) if _has_inputs(self._chunks.popleft()) else NO_INPUTS

    def close(self) -> None:
        """Interrupt a running read and close all files. May be called twice, and at any time."""
        self._ahead.close()


def open_inputs(plan: Plan, first_chunk: int = 0, pre: Chain | None = None) -> Inputs:
    """Start reading: the inputs of `first_chunk` at once, every other one ahead. A plan without any costs nothing.

    pre  the plan's pre-processors with their models; None: none of them has one.

    What a pre-processor remembers of earlier frames is computed anew from the beginning of its stream.
    """
    return Inputs(plan, first_chunk, pre)


class InputReader(Closing):
    """Reads the inputs of any chunk of a plan; ascending chunks are fast."""

    def __init__(self, plan: Plan, pre: Chain | None = None) -> None:
        pre = Chain.of(plan.pre_processors) if pre is None else pre
        self._size = (plan.height, plan.width)
        self._readers = FrameReaders(plan)
        self._stills = Stills(plan.height, plan.width)
        self._video = Track(plan, "video", self._readers, pre)
        self._processed = _processed_video(plan, self._video, pre)
        self._last = plan.num_frames - 1
        self._control = Control(plan, self._readers, self._stills, pre)

    def read(self, chunk: Chunk) -> ChunkInputs:
        self._readers.close_before(chunk.first_frame - 1)
        vace = chunk.vace
        return ChunkInputs(
            pixels=self._pixels(chunk) if chunk.mode == "video" else None,
            control=self._control.of(chunk) if vace is not None and vace.has_frames else None,
            reference=self._stills(vace.reference).copy() if vace is not None and vace.reference else None,
        )

    def interrupt(self) -> None:
        """Make a running `read` fail soon; called from another thread."""
        self._readers.interrupt()

    def close(self) -> None:
        self._readers.close()

    def _pixels(self, chunk: Chunk) -> Frames:
        pixels = np.empty((chunk.frames, *self._size, 3), np.uint8)
        for i in range(chunk.frames):
            pixels[i] = self._frame(min(chunk.first_frame + i, self._last))
        return pixels

    def _frame(self, frame: int) -> Frames:
        return self._video.nearest(frame) if self._processed is None else self._processed.frame(frame)


def _processed_video(plan: Plan, video: Track, pre: Chain) -> Processed | None:
    """Return the pre-processed input video. Its stream continues across cuts; chunks without input video end it."""
    if not plan.pre_processors or plan.pre_processor_output != "video":
        return None
    runs = [list(run) for mode, run in groupby(plan.chunks, key=lambda chunk: chunk.mode) if mode == "video"]
    spans = [(run[0].first_frame, run[-1].last_frame + 1) for run in runs]
    return Processed(pre, (plan.height, plan.width), spans, video.nearest)


def _has_inputs(chunk: Chunk) -> bool:
    vace = chunk.vace
    return chunk.mode == "video" or (vace is not None and (vace.has_frames or vace.reference is not None))


Values = NDArray[np.float32]


class Control:
    """Composes the control of a chunk: gray with mask 1, then control frames, masks and stills, in this order."""

    def __init__(self, plan: Plan, readers: FrameReaders, stills: Stills, pre: Chain) -> None:
        self._size = (plan.height, plan.width)
        self._frames = Track(plan, "control", readers, pre)
        self._masks = Track(plan, "masks", readers, pre)
        self._stills = stills

    def of(self, chunk: Chunk) -> ControlFrames:
        """Return the control of a chunk. Raises JobError, with the file's name, if it cannot be read or decoded."""
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
                if (values := track.frame(first_frame + i)) is not None:
                    rows[i] = values
        return frames, masks

    def _lay_stills(self, vace: Vace, frames: Values, masks: Values) -> None:
        """Copy each image into its frames where the timeline's mask is "generate", and set the mask to "keep"."""
        generate = masks > GENERATE_ABOVE if vace.stills else masks
        for still in vace.stills:
            span = slice(still.first, still.end)
            np.copyto(frames[span], self._stills(still.path), where=generate[span, ..., None])
            masks[span] = 0


def _gray(frames: Values, masks: Values) -> tuple[bool, bool]:
    """Return (inactive, reactive): True if all pixels with mask <= 0.5, with mask > 0.5, are 0."""
    generate = masks > GENERATE_ABOVE
    if not frames.any():
        return True, True
    if generate.all():
        return True, False
    if not generate.any():
        return False, True
    painted = frames.any(axis=-1)
    return not (painted & ~generate).any(), not (painted & generate).any()


KEPT = 4
"""Images kept: a first, a last and a reference image, and one more."""


class Stills:
    """Reads still images, and keeps the last few."""

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._image = lru_cache(KEPT)(self._read)

    def __call__(self, path: Path) -> NDArray[np.float32]:
        """Return float32 [H, W, 3] in -1..1, cropped to the render's size. Do not change the array.

        Raises MissingInputError, or JobError if it is damaged or not a still image.
        """
        return self._image(path)

    def _read(self, path: Path) -> NDArray[np.float32]:
        size = self._height, self._width
        return to_unit(fit_frame(read_still(path, size), *size, "crop"))
