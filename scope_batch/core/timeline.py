"""Defines input video, control frames and masks, and their placement on the timeline of delivered frames."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from scope_batch.core.timing import Timing

Kind = Literal["video", "control", "masks"]
"""video: encoded and mixed with noise. control: control frames of VACE. masks: of VACE, 1 = generate, 0 = keep."""
TENSOR_NAMES: Mapping[Kind, str] = MappingProxyType({"control": "frames", "masks": "masks"})
"""Kind -> the name of its tensor in a safetensors file."""
Fill = Literal["hold", "loop", "none"]
"""After the last frame of a source: repeat that frame, start again, or show nothing."""
Fit = Literal["crop", "pad", "stretch"]


@dataclass(frozen=True, slots=True)
class BlobPart:
    """A C-ordered little-endian array inside a data blob.

    offset  bytes from the blob's start.
    shape   frames [1, C, T, H, W] float32 in -1..1, masks [1, 1, T, H, W] float32 in 0..1, video [T, H, W, 3] uint8.
    """

    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClipSource:
    """A file, or a part of one, and the selection of its frames.

    fps, start_s, end_s  pick frames by time, see `timing.picked_frames`; all None = every frame.
    timed_by             a clip with as many frames, whose display times replace those of the file.
    """

    kind: Kind
    path: Path
    part: BlobPart | None = None
    fps: Fraction | None = None
    start_s: float | None = None
    end_s: float | None = None
    timed_by: Path | None = None

    @property
    def picks(self) -> bool:
        """True if frames are picked by time; False if every frame is used once."""
        return (self.fps, self.start_s or None, self.end_s) != (None, None, None)


@dataclass(frozen=True, slots=True)
class ClipSourceFacts:
    """The facts of a source's file.

    frames         number of all frames; height, width in pixels.
    exact          an array, which is never resized.
    still          a single picture, repeated for any number of frames.
    timing         display times of its frames; None: the file has none.
    unread         other tensors in its file.
    notes, warnings  properties of the file and how they are handled, without its name.
    """

    frames: int
    height: int
    width: int
    exact: bool
    still: bool = False
    timing: Timing | None = field(default=None, compare=False)
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """A source whose frame 0 is delivered frame `first_frame`; it covers delivered frames first_frame .. end_frame - 1.

    fill   behaviour beyond the source's own length; "none" covers nothing there.
    where  the field of the job, for messages: "job.yaml:3:1: vace_frames".
    processed  the plan's pre-processors are applied to its frames.
    If several placements of one kind cover a frame, the last one in `Plan.placements` is used.
    """

    source: ClipSource
    first_frame: int
    end_frame: int
    fill: Fill
    fit: Fit
    where: str
    processed: bool = False


Span = tuple[int, int]
"""Delivered frames first .. end - 1."""


class Coverage:
    """Tests whether spans cover frames. Spans may be added at any time; queries must ascend, which makes them fast."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._waiting = [*spans]
        heapq.heapify(self._waiting)
        self._until = 0

    def add(self, first: int, end: int) -> None:
        heapq.heappush(self._waiting, (first, end))

    def covers(self, first: int, end: int) -> bool:
        """Return whether a frame of first .. end - 1 is covered. Neither argument may be less than in the last call."""
        while self._waiting and self._waiting[0][0] < end:
            self._until = max(self._until, heapq.heappop(self._waiting)[1])
        return self._until > first
