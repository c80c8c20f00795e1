"""Defines an input opened for reading: a numbered sequence of RGB frames."""

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
"""uint8 [H, W, 3], RGB. Do not change it: a source may return the same array twice."""

MAX_FRAME_PIXELS = 1 << 26
"""Larger frames than 67 megapixels (8K has 33) are refused as an attack or a mistake."""


class Closing(ABC):
    """A context manager whose exit is its `close`, which may be called more than once."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Source(Closing):
    """A sequence of frames, readable in any order; ascending order is fast.

    width, height: of the first frame; a clip may change later. notes: properties of the file and how they are handled;
    warnings: probable mistakes. Both are without the name.
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
        """Return frame `index` (0-based) of the file. Raises JobError if it cannot be read or decoded."""

    def interrupt(self) -> None:
        """Make a running read, and every later one, fail soon; called from another thread."""

    def close(self) -> None:
        """Close file and child process. May be called twice."""

    @property
    def frames(self) -> int:
        return len(self.timing.ticks)


@contextmanager
def opening(path: Path) -> Iterator[bool]:
    """Turn system errors while `path` is opened into errors of this package. Yields True if it is a folder."""
    with reading(path, path.name):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            _refuse_stand_in(path)
        elif not stat.S_ISDIR(mode):
            raise JobError(f"{path.name}: is neither a file nor a folder")
        yield stat.S_ISDIR(mode)


def _refuse_stand_in(path: Path) -> None:
    with path.open("rb") as file:
        kind = stand_in(file.read(START_BYTES))
    if kind:
        raise JobError(f"{path.name}: is {kind}")


def check_size(name: str, height: int, width: int, most: int = MAX_FRAME_PIXELS) -> None:
    if width * height > most:
        raise JobError(f"{name}: frames of {width}x{height} are too large; at most {most:,} pixels are read")
