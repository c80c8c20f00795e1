"""Compares two films frame by frame, in memory that does not grow with the size of their frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from scope_batch.golden.alignment import Reduced, Shift, find_shift, find_swaps, reduced
from scope_batch.golden.metrics import FrameDifference, measure
from scope_batch.golden.streams import FrameStream
from scope_batch.golden.thresholds import ORDER, Judgement, Thresholds
from scope_batch.media.source import Frame
from scope_batch.plan.view.film_map import FilmMap


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The figures of one pair of frames. psnr_db is infinite for equal frames. reasons: the thresholds it breaks."""

    frame: int
    judgement: Judgement
    largest: int
    percent: float
    psnr_db: float
    ssim: float
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, frame: int, difference: FrameDifference, thresholds: Thresholds) -> FrameResult:
        judgement, reasons = thresholds.judge(difference)
        percent = difference.percent_over(0)
        return cls(frame, judgement, difference.largest, percent, difference.psnr_db, difference.ssim, reasons)

    def __str__(self) -> str:
        return (
            f"largest difference {self.largest}/255, {self.percent:.3g} % of the pixels, PSNR {self.psnr_db:.2f} dB, "
            f"SSIM {self.ssim:.4f}"
        )

    def to_json(self) -> dict[str, Any]:
        """`psnr_db` is null for equal frames, `percent` counts the pixels that differ at all."""
        return {
            "frame": self.frame,
            "judgement": self.judgement,
            "largest": self.largest,
            "percent": self.percent,
            "psnr_db": self.psnr_db if math.isfinite(self.psnr_db) else None,
            "ssim": self.ssim,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class FramePair:
    """Two frames at the same place of both films, kept to be shown."""

    result: FrameResult
    a: Frame
    b: Frame


@dataclass(slots=True)
class Comparison:
    """The result. problems: what no threshold excuses, such as another number of frames.

    first, failed, worst  the first pair that differs at all, the first that fails, and the one with the lowest PSNR.
    map                   chunks and prompts of A, or of B where A has none.
    """

    thresholds: Thresholds
    map: FilmMap | None = None
    results: list[FrameResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    first: FramePair | None = None
    failed: FramePair | None = None
    worst: FramePair | None = None
    shift: Shift | None = None
    swaps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def judgement(self) -> Judgement:
        if self.problems:
            return "differs"
        return max((result.judgement for result in self.results), key=ORDER.index, default="equal")

    @property
    def pairs(self) -> list[FramePair]:
        """The pairs that are worth a picture, in order, each once."""
        kept = {pair.result.frame: pair for pair in (self.first, self.failed, self.worst) if pair is not None}
        return [kept[frame] for frame in sorted(kept)]

    def place(self, frame: int) -> str:
        return f"frame {frame}" if self.map is None else f"frame {frame} ({self.map.place(frame)})"

    def to_json(self) -> dict[str, Any]:
        def pair(kept: FramePair | None) -> dict[str, Any] | None:
            if kept is None:
                return None
            frame = kept.result.frame
            where: dict[str, Any] = {"chunk": None, "prompt": None}
            if self.map is not None:
                where = {"chunk": self.map.chunk_at(frame), "prompt": self.map.prompt_at(frame)}
            return kept.result.to_json() | where

        return {
            "judgement": self.judgement,
            "problems": self.problems,
            "thresholds": self.thresholds.to_json(),
            "first_difference": pair(self.first),
            "first_failure": pair(self.failed),
            "worst": pair(self.worst),
            "shift": None if self.shift is None else {"first": self.shift.first, "frames": self.shift.frames},
            "swapped": [list(swap) for swap in self.swaps],
            "frames": [result.to_json() for result in self.results],
        }


def compare(
    a: FrameStream,
    b: FrameStream,
    thresholds: Thresholds,
    *,
    ignore_rate: bool = False,
) -> Comparison:
    """Compare all frames. Of each film one frame at a time is in memory, and the pairs that differ first and most.

    ignore_rate  films at different rates may be equal all the same.
    """
    found = Comparison(thresholds, a.map or b.map)
    small: tuple[list[Reduced], list[Reduced]] = ([], [])
    counts = [0, 0]
    sizes_differ = False
    for index, (one, two) in enumerate(_pairs(a, b)):
        for side, frame in enumerate((one, two)):
            if frame is not None:
                counts[side] += 1
                small[side].append(reduced(frame))
        if one is None or two is None:
            continue
        if one.shape != two.shape:
            found.problems.append(f"frame {index} is {_size(one)} in A and {_size(two)} in B")
            sizes_differ = True
            break
        _note(found, index, one, two)
    if not ignore_rate and a.fps is not None and b.fps is not None and a.fps != b.fps:
        found.problems.append(f"A has {float(a.fps):.6g} frames per second, B has {float(b.fps):.6g}")
    if not sizes_differ:
        if counts[0] != counts[1]:
            found.problems.append(f"A has {counts[0]} frames, B has {counts[1]}")
        _explain(found, *small)
    return found


def _pairs(a: FrameStream, b: FrameStream) -> Iterator[tuple[Frame | None, Frame | None]]:
    return zip_longest(a.frames, b.frames)


def _note(found: Comparison, index: int, one: Frame, two: Frame) -> None:
    result = FrameResult.of(index, measure(one, two), found.thresholds)
    found.results.append(result)
    if result.judgement == "equal":
        return
    is_worst = found.worst is None or result.psnr_db < found.worst.result.psnr_db
    fails_first = result.judgement == "differs" and found.failed is None
    if not (is_worst or fails_first or found.first is None):
        return
    pair = FramePair(result, one.copy(), two.copy())
    if found.first is None:
        found.first = pair
    if fails_first:
        found.failed = pair
    if is_worst:
        found.worst = pair


def _explain(found: Comparison, a: list[Reduced], b: list[Reduced]) -> None:
    """Find out whether frames were dropped, added or exchanged."""
    differing = [result.frame for result in found.results if result.judgement == "differs"]
    if differing:
        found.shift = find_shift(a, b, differing[0])
        if found.shift is None:
            found.swaps = find_swaps(a, b, differing)


def _size(frame: Frame) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"
