"""Frames of an animated picture: WebP or APNG."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageSequence

from scope_batch.core.timing import Timing
from scope_batch.errors import JobError
from scope_batch.files.kinds import TO_MP4
from scope_batch.media.images import image_facts, opened_image, rgb_of, without_doubts
from scope_batch.media.source import Frame, Source

TICK_S = Fraction(1, 1_000_000)
UNTIMED_MS = 100
"""How long a frame without a duration stands, as in browsers."""
MAX_PIXELS = 1 << 32
"""Pixels of all frames together; every frame is decoded to plan it: 2,000 of 1080p."""
PROBES_KEPT = 64


@dataclass(frozen=True, slots=True)
class _Facts:
    """width, height of the canvas. first: number of the first frame in the file, behind a default picture."""

    width: int
    height: int
    first: int
    timing: Timing
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class AnimatedSource(Source):
    """Each frame is the whole canvas, as a browser shows it, on white."""

    def __init__(self, path: Path) -> None:
        status = path.stat()
        self._facts = facts = _probe(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)
        self.name, self._path = path.name, path
        self.width, self.height, self.timing = facts.width, facts.height, facts.timing
        self.notes, self.warnings = facts.notes, facts.warnings
        self._files = ExitStack()
        self._image: Image.Image | None = None

    def frame(self, index: int) -> Frame:
        number = self._facts.first + index
        if self._image is None or number < self._image.tell():
            self.close()
            with without_doubts():
                self._image = self._files.enter_context(opened_image(self._path))
        try:
            with without_doubts():
                self._image.seek(number)
                return rgb_of(self._image.copy(), self.name)
        except (EOFError, OSError, SyntaxError, ValueError) as error:
            what = str(error) or "the file ends early"
            raise JobError(f"{self.name}: frame {index} of {self.frames} cannot be decoded: {what}") from error

    def close(self) -> None:
        self._image = None
        self._files.close()


@lru_cache(PROBES_KEPT)
def _probe(path: Path, *_: int) -> _Facts:
    """Decodes every frame once: only then is it known how long each is shown, and that the file is whole."""
    facts = image_facts(path)
    shown_ms: list[float] = []
    with without_doubts(), opened_image(path) as image:
        frames: int = getattr(image, "n_frames", 1)
        if frames * facts.width * facts.height > MAX_PIXELS:
            raise JobError(f"{path.name}: {frames} frames of {facts.width}x{facts.height} are too many; {TO_MP4}")
        first = int(bool(getattr(image, "default_image", False)))
        try:
            for frame in ImageSequence.Iterator(image):
                frame.load()
                shown_ms.append(float(frame.info.get("duration") or UNTIMED_MS))
        except (EOFError, OSError, SyntaxError, ValueError) as error:
            raise JobError(f"{path.name}: is damaged or cut short: {error}") from error
    ticks, now_ms = [], 0.0
    for duration_ms in shown_ms[first:]:
        ticks.append(round(now_ms * 1000))
        now_ms += duration_ms
    timing = Timing.of_ticks(ticks, round(shown_ms[-1] * 1000), TICK_S)
    return _Facts(facts.width, facts.height, first, timing, facts.notes, facts.warnings)
