"""Defines an input opened for reading: a numbered row of RGB frames."""

from __future__ import annotations

import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.timing import Timing
from scope_batch.errors import JobError
from scope_batch.files.access import reading
from scope_batch.files.kinds import START_BYTES, stand_in

Frame = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB. Read-only by agreement: a source may hand out the same one twice."""

MAX_FRAME_PIXELS = 1 << 26
"""Larger frames than 67 megapixels (8K is 33) are taken for an attack or a mistake."""


class Closing(ABC):
    """A context manager whose exit is its `close`, which may be called more than once."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Source(Closing):
    """Frames may be read in any order; ascending order is fast.

    width, height: of the first frame; a clip may change on the way. notes: properties of the file and how they are
    handled; warnings: probable mistakes. Both are without the name.
    """

    name: str
    width: int
    height: int
    timing: Timing
    has_audio: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Frame `index` (0-based) of the file. Raises JobError if it cannot be read or decoded."""

    def interrupt(self) -> None:
        """From another thread: make a read that is under way fail soon, and every later one."""

    def close(self) -> None:
        """Let go of file and child process. May be called again."""

    @property
    def frames(self) -> int:
        return len(self.timing.ticks)


@contextmanager
def opening(path: Path) -> Iterator[bool]:
    """A context around the opening of `path`. Yields whether it is a folder; system errors become ours."""
    with reading(path, path.name):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            _refuse_stand_in(path)
        elif not stat.S_ISDIR(mode):
            raise JobError(f"{path.name}: is neither a file nor a folder")
        yield stat.S_ISDIR(mode)


def _refuse_stand_in(path: Path) -> None:
    with path.open("rb") as file:
        what = stand_in(file.read(START_BYTES))
    if what:
        raise JobError(f"{path.name}: is {what}")


def check_size(name: str, height: int, width: int, most: int = MAX_FRAME_PIXELS) -> None:
    if width * height > most:
        raise JobError(f"{name}: frames of {width}x{height} are too large; at most {most:,} pixels are read")
