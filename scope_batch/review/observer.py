"""Collects figures of a film while it is read: of every chunk, and when each change of the prompt becomes visible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from scope_batch.golden.alignment import Reduced, reduced
from scope_batch.media.figures import ChunkFigures, FigureMeter
from scope_batch.media.source import Frame
from scope_batch.plan.view.film_map import FilmMap

WINDOW = 24
"""Frames before a change of the prompt that tell how much the picture moves anyway, and after it that are looked at."""
TIMES_MOTION = 2.0
"""A change is visible once the picture has moved so many times further than it usually did before."""
LEAST_LEVELS = 1.0
"""Levels of mean difference; less is not visible."""
FRAMES_WITHOUT_MAP = 12
"""Frames that are measured together in a film that does not tell its chunks."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of the prompt. frame: where it was planned. late: frames until it is visible, None if it is not within
    `WINDOW` frames."""

    frame: int
    prompt: str
    late: int | None


@dataclass(slots=True)
class Observer:
    """Reads along. `figures` of all chunks are complete when the film has been read to its end."""

    map: FilmMap | None
    figures: list[ChunkFigures] = field(default_factory=list)
    _small: list[Reduced] = field(default_factory=list)

    def watching(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the frames on, and measure them. The frames of one chunk are in memory."""
        meter = FigureMeter()
        sizes = iter(self.map.chunk_frames) if self.map is not None else iter([])
        left = next(sizes, FRAMES_WITHOUT_MAP)
        chunk: list[Frame] = []
        for frame in frames:
            yield frame
            while left == 0:  # a processor may hold a whole chunk back
                meter.measure(np.empty((0, *frame.shape), np.uint8))
                left = next(sizes, FRAMES_WITHOUT_MAP)
            chunk.append(frame)
            self._small.append(reduced(frame))
            left -= 1
            if left == 0:
                self._measure(meter, chunk)
                left, chunk = next(sizes, FRAMES_WITHOUT_MAP), []
        if chunk:
            self._measure(meter, chunk)

    def switches(self) -> list[Switch]:
        """Return every change of the prompt, with how late it became visible."""
        if self.map is None:
            return []
        return [Switch(frame, prompt, visible_after(self._small, frame)) for frame, prompt in self.map.prompts[1:]]

    def _measure(self, meter: FigureMeter, chunk: Sequence[Frame]) -> None:
        found = meter.measure(np.stack(chunk))
        assert found is not None
        self.figures.append(found)


def visible_after(film: Sequence[Reduced], frame: int) -> int | None:
    """Return how many frames after `frame` the picture begins to move further than it did in the frames before.

    0: in that frame itself. None: not within `WINDOW` frames, or there is nothing before to compare with.
    """
    before = [picture.astype(np.float32) for picture in film[max(frame - WINDOW, 0) : frame]]
    if len(before) < 2:
        return None
    usual = 0.0
    for late, picture in enumerate(film[frame : frame + WINDOW]):
        steps = late + 1
        apart = [float(np.abs(two - one).mean()) for one, two in zip(before, before[steps:], strict=False)]
        usual = max([usual, *([median(apart)] if apart else [])])
        if float(np.abs(picture - before[-1]).mean()) > max(TIMES_MOTION * usual, LEAST_LEVELS):
            return late
    return None
