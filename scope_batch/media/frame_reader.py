"""Reads the sources of the timeline at the size of the render, and selects the source of each frame."""

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
"""One frame. video: uint8 [H, W, 3]. control: float32 [H, W, 3] (or 1 channel, for all three) in -1..1. masks: float32
[H, W] in 0..1. Do not change it: it may be shared."""


class FrameReader(Closing):
    """Reads a placement's source. Reading in ascending order, or the same frame again, is fast."""

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
        """The reader of the float array, None for other sources."""
        return self._opened if isinstance(self._opened, FloatArrayReader) else None

    def pick(self, index: int) -> int:
        """Return the file's frame number of picked frame `index`."""
        return self._picks[index]

    def frame(self, index: int) -> Pixels:
        """Return picked frame `index`. Raises JobError if it cannot be read or decoded."""
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
        # Binarized before resizing: equal with nearest neighbour, and resizes one channel instead of three.
        fitted = fit_frame(generates(frame), self._height, self._width, self._fit, Image.Resampling.NEAREST)
        return fitted.astype(np.float32)

    def _check_size(self, where: str) -> None:
        size = (self._opened.height, self._opened.width)
        if isinstance(self._opened, FloatArrayReader) and size != (self._height, self._width):
            expected = f"the render {self._width}x{self._height}; arrays are not resized"
            raise JobError(f"{where}: {self._opened.name} is {size[1]}x{size[0]} (width x height), {expected}")


def to_unit(frame: Frame) -> NDArray[np.float32]:
    """Convert uint8 0..255 to float32 -1..1."""
    unit = frame.astype(np.float32)
    unit /= np.float32(127.5)
    unit -= np.float32(1)
    return unit


def to_bytes(frame: Pixels) -> Frame:
    """Convert float32 [H, W, 3 or 1] in -1..1 to uint8 [H, W, 3], rounded; the inverse of `to_unit`."""
    levels = np.rint((frame + np.float32(1)) * np.float32(127.5)).clip(0, 255).astype(np.uint8)
    return np.broadcast_to(levels, (*levels.shape[:2], 3))


class FrameReaders(Closing):
    """Opens the reader of each source when it is first needed, shares it among placements of that source, and closes
    it after the last frame that needs it."""

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
        """Return the reader. Raises as `open_material`, and JobError for an array that has not the render's size."""
        key = _key(placement)
        if key not in self._open:
            reader = FrameReader(placement, self._height, self._width)
            with self._lock:
                self._open[key] = reader
                if self._interrupted:
                    reader.interrupt()
        return self._open[key]

    def close_before(self, frame: int) -> None:
        """Close readers that no delivered frame from `frame` on needs; they reopen on demand."""
        for key in [key for key in self._open if self._needed_until[key] <= frame]:
            with self._lock:
                reader = self._open.pop(key)
            reader.close()

    def interrupt(self) -> None:
        """Make a running read, and every later one, fail soon; called from another thread."""
        with self._lock:
            self._interrupted = True
            for reader in self._open.values():
                reader.interrupt()

    def close(self) -> None:
        for reader in self._open.values():
            reader.close()


def _key(placement: Placement) -> tuple[ClipSource, Fit]:
    return placement.source, placement.fit


class Track:
    """Reads the frames of one kind by delivered frame number; numbers beyond the last mean the last."""

    def __init__(self, plan: Plan, kind: Kind, readers: FrameReaders, pre: Chain) -> None:
        self._placements = tuple(placement for placement in plan.placements if placement.source.kind == kind)
        self._last = plan.num_frames - 1
        self._readers = readers
        self._processed = _processed_control(self._placements, plan, self._read, pre) if kind == "control" else None

    def covers(self, frame: int) -> bool:
        return self._placement_at(frame) is not None

    def frame(self, frame: int) -> Pixels | None:
        """Return the pixels at `frame`, None if no placement covers it. Raises JobError if they cannot be decoded."""
        placement = self._placement_at(frame)
        if placement is None:
            return None
        frame = min(frame, self._last)
        if placement.processed and self._processed is not None:
            return to_unit(self._processed.frame(frame))
        return self._read(placement, frame)

    def nearest(self, frame: int) -> Pixels:
        """Return the pixels at `frame`, or at the nearest covered frame, the earlier of two."""
        pixels = self.frame(frame)
        if pixels is not None:
            return pixels
        frame = min(frame, self._last)
        spans = [(p.first_frame, min(self._end(p) - 1, self._last)) for p in self._placements]
        ends = [end for span in spans for end in span if span[0] <= span[1]]
        pixels = self.frame(min(ends, key=lambda end: (abs(end - frame), end)))
        assert pixels is not None
        return pixels

    def _read(self, placement: Placement, frame: int) -> Pixels:
        reader = self._readers.of(placement)
        index = frame - placement.first_frame
        return reader.frame(index % reader.frames if placement.fill == "loop" else min(index, reader.frames - 1))

    def _placement_at(self, frame: int) -> Placement | None:
        frame = min(frame, self._last)
        for placement in reversed(self._placements):
            if placement.first_frame <= frame < placement.end_frame and frame < self._end(placement):
                return placement
        return None

    def _end(self, placement: Placement) -> int:
        if placement.fill != "none":
            return placement.end_frame
        return min(placement.end_frame, placement.first_frame + self._readers.of(placement).frames)


def _processed_control(
    placements: Iterable[Placement], plan: Plan, read: Callable[[Placement, int], Pixels], pre: Chain
) -> Processed | None:
    """Return the pre-processed input video that steers VACE; it covers every delivered frame."""
    source = next((placement for placement in placements if placement.processed), None)
    if source is None:
        return None
    span = (source.first_frame, source.end_frame)
    return Processed(pre, (plan.height, plan.width), [span], lambda frame: to_bytes(read(source, frame)))
