"""Frames from pictures: one file, a folder of them, or a numbered pattern."""

from __future__ import annotations

from pathlib import Path

from scope_batch.core.timing import Timing
from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.image_series import IMAGE_SUFFIXES, doubts, folder_files, pattern_files
from scope_batch.media.images import ImageFacts, Near, image_facts, read_image
from scope_batch.media.source import Frame, Source


class ImageFolderSource(Source):
    """The pictures of a folder, or of a pattern, in natural order of their names; all are of one size."""

    def __init__(self, path: Path, near: Near = None) -> None:
        self.name, self._near = path.name, near
        self._folder = path if path.is_dir() else path.parent
        self._paths = folder_files(path) if path.is_dir() else pattern_files(path)
        if not self._paths:
            kinds = f"allowed are {' '.join(IMAGE_SUFFIXES)}"
            if path.is_dir():
                raise JobError(f"{self.name}: the folder holds no images; {kinds}")
            raise MissingInputError(f"{path}: no image is named so; {kinds}")
        facts = [self._facts(picture) for picture in self._paths]
        self.width, self.height = facts[0].width, facts[0].height
        self.notes = tuple(dict.fromkeys(note for fact in facts for note in fact.notes))
        found = [warning for fact in facts for warning in fact.warnings]
        self.warnings = (*doubts([picture.name for picture in self._paths]), *dict.fromkeys(found))
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
            raise JobError(f"{where}: is {sizes} as {first.name}; all must be alike")
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
