"""An input opened for reading: whatever it is, a numbered row of equal RGB frames."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scope_batch.errors import JobError, MissingInputError
from scope_batch.media.closing import Closing
from scope_batch.media.timing import Timing

Frame = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB. Read-only by agreement: a source may hand out the same one twice."""

MAX_FRAME_PIXELS = 1 << 26
"""Larger frames than 67 megapixels (8K is 33) are taken for an attack or a mistake."""


class Source(Closing):
    """Base of all kinds. Any order of reading is right; ascending order is fast."""

    name: str
    width: int
    height: int
    timing: Timing
    has_audio: bool = False

    def frame(self, index: int) -> Frame:
        """Frame `index` (0-based) of the file. Raises JobError if it cannot be read or decoded."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """From another thread: make a read that is under way fail soon, and every later one."""

    def close(self) -> None:
        """Let go of file and child process. May be called again."""

    @property
    def frames(self) -> int:
        return len(self.timing.ticks)


def open_source(path: Path) -> Source:
    """Open a video file, a `.npy` or `.bin` array, or a folder of images.

    Raises MissingInputError if there is nothing, JobError for what is unknown, damaged or too large.
    """
    from scope_batch.media.arrays import ArraySource, read_bin_header, read_npy_header
    from scope_batch.media.clip import VIDEO_SUFFIXES
    from scope_batch.media.images import ImageFolderSource
    from scope_batch.media.video import VideoSource

    suffix = path.suffix.lower()
    source: Source
    try:
        if stat.S_ISDIR(mode := path.stat().st_mode):
            source = ImageFolderSource(path)
        elif not stat.S_ISREG(mode):
            raise JobError(f"{path.name}: is neither a file nor a folder")
        elif suffix == ".npy":
            source = ArraySource(path, read_npy_header)
        elif suffix == ".bin":
            source = ArraySource(path, read_bin_header)
        elif suffix in VIDEO_SUFFIXES:
            source = VideoSource(path)
        else:
            allowed = " ".join((*VIDEO_SUFFIXES, ".npy", ".bin"))
            raise JobError(f"{path.name}: unknown kind of input; allowed are {allowed} and a folder of images")
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such file or folder") from error
    except OSError as error:
        raise JobError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    if source.width * source.height > MAX_FRAME_PIXELS:
        source.close()
        raise JobError(f"{path.name}: frames of {source.width}x{source.height} are too large")
    return source
