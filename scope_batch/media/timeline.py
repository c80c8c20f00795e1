"""The input as the job sees it: frame i of the input belongs to frame i of the output."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scope_batch.errors import JobError
from scope_batch.material import Fit
from scope_batch.media.closing import Closing
from scope_batch.media.fit import fit_frame
from scope_batch.media.source import Source, open_source
from scope_batch.media.timing import picked_frames

InputLength = Literal["loop", "hold", "error"]


class Timeline(Closing):
    """An open input. Windows are read in any order; ascending ones come from one running decoder.

    frames: delivered frames; every index from there on shows the last delivered one.
    """

    def __init__(
        self, source: Source, picks: Sequence[int], *, frames: int, height: int, width: int, fit: Fit, loop: bool
    ) -> None:
        self.frames = frames
        self._source = source
        self._picks = picks
        self._height, self._width, self._fit = height, width, fit
        self._loop = loop

    def window(self, first_frame: int, count: int) -> NDArray[np.uint8]:
        """Frames first_frame ... first_frame + count - 1: uint8 [count, H, W, 3], the caller's own.

        Raises JobError with the file's name and the frame's number in the file if one cannot be read.
        """
        frames = np.empty((count, self._height, self._width, 3), np.uint8)
        previous = -1
        for i in range(count):
            index = self._source_index(first_frame + i)
            if index == previous:
                frames[i] = frames[i - 1]
            else:
                frames[i] = fit_frame(self._source.frame(index), self._height, self._width, self._fit)
            previous = index
        return frames

    def interrupt(self) -> None:
        """From another thread: make a `window` that is under way fail soon."""
        self._source.interrupt()

    def close(self) -> None:
        self._source.close()

    def _source_index(self, frame: int) -> int:
        delivered = min(frame, self.frames - 1)
        clip_frames = len(self._picks)
        return self._picks[delivered % clip_frames if self._loop else min(delivered, clip_frames - 1)]


def open_timeline(
    path: Path,
    *,
    num_frames: int | None,
    height: int,
    width: int,
    fit: Fit,
    input_length: InputLength,
    input_fps: Fraction | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
) -> Timeline:
    """Open the input of a job that delivers `num_frames` frames (None: as many as the input has) of height x width.

    `input_fps` None = every frame of the clip. Raises MissingInputError, or JobError if the input cannot be read, its
    rate varies without `input_fps`, or it is too short under `input_length: error`.
    """
    source = open_source(path)
    try:
        picks = picked_frames(source.timing, name=source.name, input_fps=input_fps, start_s=start_s, end_s=end_s)
        frames = len(picks) if num_frames is None else num_frames
        if input_length == "error" and frames > len(picks):
            allowed = "`input_length: loop` or `hold` goes on"
            raise JobError(f"{source.name}: has {len(picks)} frames, the job needs {frames}; {allowed}")
    except BaseException:
        source.close()
        raise
    loop = input_length == "loop"
    return Timeline(source, picks, frames=frames, height=height, width=width, fit=fit, loop=loop)
