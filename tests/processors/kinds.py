# ruff: noqa: ARG002  (sizes do not matter to these)
"""Processors of every kind that the contract allows, and some that break it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import EntryPoint
from itertools import count
from typing import Any

import numpy as np
import pytest

from scope_batch.core import registry
from scope_batch.core.frames import Frames
from scope_batch.processors import EachFrame, Processor, ProcessorSpec


def mean(first: Frames, second: Frames) -> Frames:
    return ((first.astype(np.uint16) + second + 1) // 2).astype(np.uint8)


def doubled(frames: Frames) -> Frames:
    """What `Doubling` makes of all frames."""
    after = np.concatenate([frames[1:], frames[-1:]])
    return np.stack([frames, mean(frames, after)], axis=1).reshape(-1, *frames.shape[1:])


class Remembering:
    """A stream that remembers its attributes alone."""

    def state(self) -> dict[str, Any]:
        return vars(self).copy()

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


class DoublingStream(Remembering):
    """Frames that wait for the next one come out with the mean of both behind them; the last one twice."""

    def __init__(self) -> None:
        self.last: Frames | None = None

    def process(self, frames: Frames) -> Frames:
        known = frames if self.last is None else np.concatenate([self.last, frames])
        self.last = known[-1:]
        pairs = np.stack([known[:-1], mean(known[:-1], known[1:])], axis=1)
        return pairs.reshape(-1, *frames.shape[1:])

    def flush(self) -> Frames:
        return np.concatenate([self.last, self.last])


@dataclass(frozen=True)
class Doubling(Processor):
    """Twice the frame rate: looks across the borders of chunks, and holds a frame back to the end."""

    fps_factor = Fraction(2)

    def frames_out(self, frames: int) -> int:
        return 2 * frames

    def frames_ready(self, frames: int) -> int:
        return 2 * max(frames - 1, 0)

    def open(self, height: int, width: int) -> DoublingStream:
        return DoublingStream()


class Slow(Doubling):
    """The same at the rate that it was: it takes twice as long."""

    fps_factor = Fraction(1)


class TrailStream(Remembering):
    """The difference to the frame before, black at first: as optical flow would look back."""

    def __init__(self) -> None:
        self.last: Frames | None = None

    def process(self, frames: Frames) -> Frames:
        before = np.concatenate([frames[:1] if self.last is None else self.last, frames[:-1]])
        self.last = frames[-1:]
        return np.abs(frames.astype(np.int16) - before).astype(np.uint8)

    def flush(self) -> None:
        return None


class Trail(Processor):
    def open(self, height: int, width: int) -> TrailStream:
        return TrailStream()


class AheadStream(Remembering):
    """The mean with the frame `ahead` later (the last, where there is none): looks further than a chunk."""

    def __init__(self, ahead: int) -> None:
        self.ahead, self.waiting = ahead, None

    def process(self, frames: Frames) -> Frames:
        known = frames if self.waiting is None else np.concatenate([self.waiting, frames])
        ready = max(len(known) - self.ahead, 0)
        self.waiting = known[ready:]
        return mean(known[:ready], known[self.ahead : self.ahead + ready])

    def flush(self) -> Frames:
        return mean(self.waiting, self.waiting[-1:])


@dataclass(frozen=True)
class Ahead(Processor):
    ahead: int

    def frames_ready(self, frames: int) -> int:
        return max(frames - self.ahead, 0)

    def open(self, height: int, width: int) -> AheadStream:
        return AheadStream(self.ahead)


class Half(Processor):
    """Half as high and wide, every second frame."""

    fps_factor = Fraction(1, 2)

    def frames_out(self, frames: int) -> int:
        return (frames + 1) // 2

    def size_out(self, height: int, width: int) -> tuple[int, int]:
        return height // 2, width // 2

    def open(self, height: int, width: int) -> Any:
        seen = count()
        return Lambda(lambda frames: frames[[next(seen) % 2 == 0 for _ in frames], ::2, ::2])


@dataclass
class Lambda:
    process: Callable[[Frames], Any]

    def flush(self) -> None:
        return None


def spec_of(name: str, processor: Processor) -> ProcessorSpec:
    return ProcessorSpec(name, f"{name}, for tests", lambda _: processor)


def per_frame(name: str, treat: Callable[[Frames], Any]) -> ProcessorSpec:
    return spec_of(name, EachFrame(treat))


def fail(_: Frames) -> Frames:
    raise RuntimeError("no more\nframes")


def tenfold(frames: Frames) -> Frames:
    return np.repeat(frames, 10, axis=0)


def levelled(frames: Frames) -> Frames:
    """Normalised by what happens to be in the block."""
    return (frames * (255 / max(int(frames.max()), 1))).astype(np.uint8)


def in_place(frames: Frames) -> Frames:
    frames += 1
    return frames


class OneBuffer(Processor):
    """Returns the same memory every time."""

    def open(self, height: int, width: int) -> Lambda:
        buffer = np.empty((64, height, width, 3), np.uint8)

        def process(frames: Frames) -> Frames:
            buffer[: len(frames)] = frames
            return buffer[: len(frames)]

        return Lambda(process)


class Forgetful(Processor):
    """Its streams say that they can be resumed, and forget what they held."""

    def open(self, height: int, width: int) -> TrailStream:
        class Stream(TrailStream):
            def state(self) -> dict[str, Any]:
                return {}

        return Stream()


class OneStream(Processor):
    """Every render gets the same stream."""

    stream = TrailStream()

    def open(self, height: int, width: int) -> TrailStream:
        return self.stream


DOUBLE = spec_of("double", Doubling())
SLOW = spec_of("slow", Slow())
TRAIL = spec_of("trail", Trail())
AHEAD = spec_of("ahead", Ahead(1))
FAR = spec_of("far", Ahead(30))
HALF = spec_of("half", Half())
FAILING = per_frame("failing", fail)
TENFOLD = per_frame("tenfold", tenfold)
GOOD = (DOUBLE, TRAIL, AHEAD, FAR, HALF)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register them like the processors of an installed package."""
    group = "scope_batch.processors"
    names = ("double", "slow", "trail", "ahead", "far", "half", "failing", "tenfold")
    entries = {name: (EntryPoint(name, f"{__name__}:{name.upper()}", group),) for name in names}
    monkeypatch.setattr(registry, "entry_points_of", lambda asked: entries if asked == group else {})
