"""Reads frames from pictures: one file, a folder, a numbered pattern, or an animated WebP or PNG."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageSequence

from scope_batch.core.timing import Timing
from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.image_series import IMAGE_SUFFIXES, folder_files, pattern_files, series_warnings
from scope_batch.files.kinds import TO_MP4
from scope_batch.media.images import (
    ImageFacts,
    Near,
    image_facts,
    opened_image,
    pillow_warnings_off,
    read_image,
    rgb_of,
)
from scope_batch.media.source import Frame, Source


class ImageFolderSource(Source):
    """The pictures of a folder or a pattern, in natural order of their names; all have one size."""

    def __init__(self, path: Path, near: Near = None) -> None:
        self.name, self._near = path.name, near
        self._folder = path if path.is_dir() else path.parent
        self._paths = folder_files(path) if path.is_dir() else pattern_files(path)
        if not self._paths:
            kinds = f"allowed are {' '.join(IMAGE_SUFFIXES)}"
            if path.is_dir():
                raise JobError(f"{self.name}: the folder holds no images; {kinds}")
            raise MissingInputError(f"{path}: no image matches; {kinds}")
        facts = [self._facts(picture) for picture in self._paths]
        self.width, self.height = facts[0].width, facts[0].height
        self.notes = tuple(dict.fromkeys(note for fact in facts for note in fact.notes))
        warnings = [warning for fact in facts for warning in fact.warnings]
        self.warnings = (*series_warnings([picture.name for picture in self._paths]), *dict.fromkeys(warnings))
        self.timing = Timing.even(len(self._paths))

    def frame(self, index: int) -> Frame:
        return read_image(self._paths[index], self._near, (self.width, self.height))

    def _facts(self, picture: Path) -> ImageFacts:
        where, facts = f"{self._folder.name}/{picture.name}", image_facts(picture)
        if facts.animated:
            raise JobError(f"{where}: is animated; a folder holds still images")
        first = self._paths[0]
        if picture == first:
            self._size = facts.width, facts.height
        elif (facts.width, facts.height) != self._size:
            sizes = f"{facts.width}x{facts.height}, not {self._size[0]}x{self._size[1]}"
            raise JobError(f"{where}: is {sizes} as {first.name}; all must have one size")
        return facts


class ImageSource(Source):
    """One picture: a clip of one frame."""

    def __init__(self, path: Path, near: Near = None) -> None:
        facts = image_facts(path)
        self.name, self._path, self._near = path.name, path, near
        self.width, self.height, self.notes, self.warnings = facts.width, facts.height, facts.notes, facts.warnings
        self.timing = Timing.even(1)

    def frame(self, index: int) -> Frame:
        assert index == 0
        return read_image(self._path, self._near, (self.width, self.height))


TICK_S = Fraction(1, 1_000_000)
UNTIMED_MS = 100
"""Duration of a frame without one, in milliseconds, as in browsers."""
MAX_PIXELS = 1 << 32
"""Most pixels in all frames together, about 2,000 frames of 1080p; planning decodes them all."""
PROBES_KEPT = 64


@dataclass(frozen=True, slots=True)
class _Facts:
    """width, height of the canvas. first: file's number of the first frame, 1 after a default picture."""

    width: int
    height: int
    first: int
    timing: Timing
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class AnimatedSource(Source):
    """An animated image. Each frame is the whole canvas, as in a browser, on white."""

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
            with pillow_warnings_off():
                self._image = self._files.enter_context(opened_image(self._path))
        try:
            with pillow_warnings_off():
                self._image.seek(number)
                return rgb_of(self._image.copy(), self.name)
        except (EOFError, OSError, SyntaxError, ValueError) as error:
            fault = str(error) or "the file ends early"
            raise JobError(f"{self.name}: frame {index} of {self.frames} cannot be decoded: {fault}") from error

    def close(self) -> None:
        self._image = None
        self._files.close()


@lru_cache(PROBES_KEPT)
def _probe(path: Path, *_: int) -> _Facts:
    """Decode every frame once to get all durations and to check that the file is complete."""
    facts = image_facts(path)
    shown_ms: list[float] = []
    with pillow_warnings_off(), opened_image(path) as image:
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
