"""Computes the display times of a clip's frames, and picks frames by time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from statistics import median
from typing import Literal

from scope_batch.errors import JobError

STILL_FPS = Fraction(16)
"""Frame rate of sources without one (arrays, image folders): the delivered rate of Wan 2.1."""

TIME_SLACK_S = Fraction(1, 1_000_000)
"""A frame counts as shown at `t` if its time is at most `t` plus this."""

JITTER_S = Fraction(1, 1000)
"""A rate is constant if no frame is off an even grid by more than this or one tick."""

NTSC_RATES = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))

USUAL_RATES = (10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60, 120, 240)
NEAR_RATE = 0.03
"""Largest relative difference to a usual rate at which a rate is taken for it."""
MOST_FPS = 240

FEW_FRAMES = 4
"""Below this, equal steps may be an accident of rounding: common rates are preferred."""


@dataclass(frozen=True, slots=True)
class Timing:
    """ticks: display time of each frame, ascending, the first at 0. end: tick at which the last one ends.
    tick_s: seconds per tick. fps: frames per second, None if the rate varies.
    stated: the file has display times; arrays and folders of images have none and count as STILL_FPS.
    """

    ticks: Sequence[int]
    end: int
    tick_s: Fraction
    fps: Fraction | None
    stated: bool = True

    @property
    def frames(self) -> int:
        return len(self.ticks)

    @property
    def nominal_fps(self) -> Fraction:
        """The constant rate; for a varying rate the usual rate nearest to the median step."""
        if self.fps is not None:
            return self.fps
        step_s = max(median(b - a for a, b in pairwise(self.ticks)), 1) * float(self.tick_s)
        nearest = min(USUAL_RATES, key=lambda rate: abs(rate * step_s - 1))
        near = abs(nearest * step_s - 1) <= NEAR_RATE
        return Fraction(nearest if near else max(1, min(round(1 / step_s), MOST_FPS)))

    @property
    def mean_fps(self) -> Fraction:
        """The constant rate, or the mean of a rate that varies."""
        return self.fps or self.frames / self.end_s

    @property
    def end_s(self) -> Fraction:
        return self.end * self.tick_s if self.fps is None else self.frames / self.fps

    def at_s(self, index: int) -> Fraction:
        """Return the display time of frame `index` in seconds."""
        return index / self.fps if self.fps is not None else self.ticks[index] * self.tick_s

    def shown_by(self, at_s: Fraction) -> int:
        """Return the number of frames shown up to and including `at_s`.

        For a constant rate the exact times count, since containers round times, and a frame may seem to come a fraction
        of a millisecond late.
        """
        if self.fps is not None:
            return max(0, min(floor((at_s + TIME_SLACK_S) * self.fps) + 1, len(self.ticks)))
        rounding_s = min(self.tick_s, JITTER_S)  # Matroska writes 66.7 ms as 67 ms
        return bisect_right(self.ticks, floor((at_s + max(rounding_s, TIME_SLACK_S)) / self.tick_s))

    def shown_before(self, at_s: Fraction) -> int:
        """Return the number of frames shown before `at_s`."""
        if self.fps is not None:
            return max(0, min(ceil((at_s - TIME_SLACK_S) * self.fps), len(self.ticks)))
        return bisect_left(self.ticks, ceil((at_s - TIME_SLACK_S) / self.tick_s))

    @staticmethod
    def even(frames: int, fps: Fraction | None = None) -> Timing:
        """Return the timing of `frames` frames at a constant rate; None: the file states no rate."""
        rate = fps or STILL_FPS
        return Timing(range(frames), frames, 1 / rate, rate, stated=fps is not None)

    @staticmethod
    def of_ticks(ticks: Sequence[int], last_ticks: int, tick_s: Fraction) -> Timing:
        """Return the timing for sorted times; `last_ticks`: duration of the last frame, 0 if unknown."""
        first = ticks[0]
        shown = tuple(tick - first for tick in ticks)
        fps = _constant_rate(shown, last_ticks, tick_s)
        lasting = last_ticks or round(1 / ((fps or STILL_FPS) * tick_s))
        return Timing(shown, shown[-1] + max(1, lasting), tick_s, fps)


def picked_frames(
    timing: Timing,
    *,
    name: str,
    fps: Fraction | None,
    start_s: float | None,
    end_s: float | None,
    fields: Literal["input", "vace"] = "input",
) -> Sequence[int]:
    """Return the indices of the clip's frames that the job uses, in order.

    Without `fps`: every frame shown in [start, end). With it: for each i the last frame shown at or before
    start + i / fps. Raises JobError if the range is empty or outside the clip, or if the rate varies and `fps` is
    None; its message begins with `name` and names the job's fields input_start or vace_start, and so on.
    """
    start, end = _range(timing, name, start_s, end_s, fields)
    if fps is None:
        if timing.fps is None:
            raise JobError(f"{name}: its frame rate varies; `{fields}_fps: N` samples it by time, N times a second")
        picks: Sequence[int] = range(timing.shown_before(start), timing.shown_before(end))
    else:
        count = ceil((end - TIME_SLACK_S - start) * fps)
        picks = [timing.shown_by(start + i / fps) - 1 for i in range(count)]
    if not picks:
        raise JobError(f"{name}: no frame between {fields}_start {float(start):g} s and {fields}_end {float(end):g} s")
    return picks


def within(picks: Sequence[int], frames: int) -> Sequence[int]:
    """Return the picks that are below `frames`."""
    return picks if picks[-1] < frames else [pick for pick in picks if pick < frames]


def _range(
    timing: Timing, name: str, start_s: float | None, end_s: float | None, fields: str
) -> tuple[Fraction, Fraction]:
    start = Fraction(start_s or 0)
    end = timing.end_s if end_s is None else Fraction(end_s)
    length = f"the clip is {float(timing.end_s):.3f} s long"
    if not 0 <= start < timing.end_s:
        raise JobError(f"{name}: {fields}_start {float(start):g} s is outside the clip: {length}")
    if end > timing.end_s + timing.end_s / timing.frames:
        raise JobError(f"{name}: {fields}_end {float(end):g} s is past the end of the clip: {length}")
    if end <= start:
        raise JobError(f"{name}: {fields}_end {float(end):g} s must lie after {fields}_start {float(start):g} s")
    return start, min(end, timing.end_s)


def _constant_rate(ticks: Sequence[int], last_ticks: int, tick_s: Fraction) -> Fraction | None:
    if len(ticks) == 1:
        return 1 / (last_ticks * tick_s) if last_ticks else STILL_FPS
    if ticks[-1] == 0:
        return None
    mean = Fraction(len(ticks) - 1) / (ticks[-1] * tick_s)
    steps = {b - a for a, b in pairwise(ticks)}
    if len(steps) == 1 and len(ticks) >= FEW_FRAMES:
        return mean
    common = sorted({Fraction(max(1, floor(mean))), Fraction(ceil(mean)), *NTSC_RATES}, key=lambda c: abs(c - mean))
    candidates = (*common, mean.limit_denominator(1000), mean)
    return next((rate for rate in candidates if _is_even(ticks, tick_s, rate)), None)


def _is_even(ticks: Sequence[int], tick_s: Fraction, fps: Fraction) -> bool:
    period = float(1 / (fps * tick_s))
    slack = max(1.0, float(JITTER_S / tick_s)) + 1e-6
    return all(abs(tick - i * period) <= slack for i, tick in enumerate(ticks))
