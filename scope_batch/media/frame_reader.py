"""Reads the sources of the timeline at the size of the render, and decides which of them shows at each frame."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scope_batch.core.plan import Plan
from scope_batch.core.timeline import ClipSource, Fit, Kind, Placement
from scope_batch.errors import JobError
from scope_batch.media.masks import generates
from scope_batch.media.open import open_material, picked
from scope_batch.media.planes import FloatArrayReader
from scope_batch.media.preprocess import Processed
from scope_batch.media.resize import fit_frame
from scope_batch.media.source import Closing, Frame
from scope_batch.processors.chain import Chain

Pixels = NDArray[Any]
"""One frame. video: uint8 [H, W, 3]. frames: float32 [H, W, 3] (or 1 channel, for all three) in -1..1. masks: float32
[H, W] in 0..1. Read-only by agreement."""


class FrameReader(Closing):
    """A placement's material, opened. Ascending reading is fast, and so is the same frame again."""

    def __init__(self, placement: Placement, height: int, width: int) -> None:
        self._kind, self._fit = placement.source.kind, placement.fit
        self._height, self._width = height, width
        self._opened = open_material(placement.source, (height, width))
        try:
            self._picks = picked(self._opened, placement.source)
            self._check_size(placement.where)
        except BaseException:
            self._opened.close()
            raise
        self._held: tuple[int, Pixels] | None = None

    @property
    def frames(self) -> int:
        return len(self._picks)

    @property
    def planes(self) -> FloatArrayReader | None:
        """The float array underneath, if it is one."""
        return self._opened if isinstance(self._opened, FloatArrayReader) else None

    def pick(self, index: int) -> int:
        """Number in the file of frame `index` of those that count."""
        return self._picks[index]

    def frame(self, index: int) -> Pixels:
        """Frame `index` of those that count. Raises JobError if it cannot be read or decoded."""
        pick = self._picks[index]
        if self._held is None or self._held[0] != pick:
            self._held = (pick, self._read(pick))
        return self._held[1]

    def interrupt(self) -> None:
        self._opened.interrupt()

    def close(self) -> None:
        self._opened.close()

    def _read(self, index: int) -> Pixels:
        if isinstance(self._opened, FloatArrayReader):
            planes = self._opened.planes(index)
            return planes[0] if self._kind == "masks" else np.moveaxis(planes, 0, -1)
        frame = self._opened.frame(index)
        if self._kind == "masks":
            return self._mask(frame)
        fitted = fit_frame(frame, self._height, self._width, self._fit)
        return fitted if self._kind == "video" else to_unit(fitted)

    def _mask(self, frame: Frame) -> Pixels:
        # Cut at the level before resizing: with nearest neighbours the order does not matter, and this is one channel.
        fitted = fit_frame(generates(frame), self._height, self._width, self._fit, Image.Resampling.NEAREST)
        return fitted.astype(np.float32)

    def _check_size(self, where: str) -> None:
        size = (self._opened.height, self._opened.width)
        if isinstance(self._opened, FloatArrayReader) and size != (self._height, self._width):
            asked = f"the render {self._width}x{self._height}; arrays are not resized"
            raise JobError(f"{where}: {self._opened.name} is {size[1]}x{size[0]} (width x height), {asked}")


def to_unit(frame: Frame) -> NDArray[np.float32]:
    """uint8 0..255 -> float32 -1..1."""
    unit = frame.astype(np.float32)
    unit /= np.float32(127.5)
    unit -= np.float32(1)
    return unit


def to_bytes(frame: Pixels) -> Frame:
    """float32 [H, W, 3 or 1] in -1..1 -> uint8 [H, W, 3], rounded: what `to_unit` was given."""
    levels = np.rint((frame + np.float32(1)) * np.float32(127.5)).clip(0, 255).astype(np.uint8)
    return np.broadcast_to(levels, (*levels.shape[:2], 3))


class Reels(Closing):
    """The reels of a plan: each opened when it is first shown, shared by placements of the same material, and closed
    once nothing later shows it."""

    def __init__(self, plan: Plan) -> None:
        self._height, self._width = plan.height, plan.width
        self._open: dict[tuple[ClipSource, Fit], FrameReader] = {}
        self._needed_until: dict[tuple[ClipSource, Fit], int] = {}
        for placement in plan.placements:
            key = _key(placement)
            self._needed_until[key] = max(placement.end_frame, self._needed_until.get(key, 0))
        self._lock = threading.Lock()
        self._interrupted = False

    def of(self, placement: Placement) -> FrameReader:
        """Raises as `open_material` does, and JobError for an array of another size than the render's."""
        key = _key(placement)
        if key not in self._open:
            reel = FrameReader(placement, self._height, self._width)
            with self._lock:
                self._open[key] = reel
                if self._interrupted:
                    reel.interrupt()
        return self._open[key]

    def close_before(self, frame: int) -> None:
        """Close what no delivered frame from `frame` on shows; should it be asked for all the same, it opens anew."""
        for key in [key for key in self._open if self._needed_until[key] <= frame]:
            with self._lock:
                reel = self._open.pop(key)
            reel.close()

    def interrupt(self) -> None:
        """From another thread: make a read that is under way fail soon, and every later one."""
        with self._lock:
            self._interrupted = True
            for reel in self._open.values():
                reel.interrupt()

    def close(self) -> None:
        for reel in self._open.values():
            reel.close()


def _key(placement: Placement) -> tuple[ClipSource, Fit]:
    return placement.source, placement.fit


class Track:
    """Frames are delivered frames; beyond the last one, the last one shows."""

    def __init__(self, plan: Plan, kind: Kind, reels: Reels) -> None:
        self._placements = tuple(placement for placement in plan.placements if placement.source.kind == kind)
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
