"""Times the stages of a render from its events: by CUDA events on a GPU, by the host's clock elsewhere.

A mark costs the render no wait: CUDA events are read when the render has ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from scope_batch.events import ChunkDone, ChunkStarted, Event, Loading, Stage, Started

WAITING, BETWEEN = "preparing", "between chunks"
"""Inputs, prompt and noise, before the first stage; and the loop's own work behind the last one."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The beginning of a stage of a chunk. host_s: of the monotonic clock; event: None without a GPU."""

    chunk: int
    stage: str
    host_s: float
    event: Any = None


@dataclass(frozen=True, slots=True)
class ChunkTimes:
    """Milliseconds of one chunk. total: to the start of the next one; stages: in the order in which they came."""

    chunk: int
    frames: int
    total: float
    stages: dict[str, float]


class StageClock:
    """A report of events that also takes marks. `observers` are called with every event after its mark."""

    def __init__(self, *, cuda: bool, observers: tuple[Any, ...] = ()) -> None:
        self._cuda, self._observers = cuda, observers
        self._marks: list[Mark] = []
        self._frames: dict[int, int] = {}
        self.began_s = time.monotonic()
        self.text_encoder_from_s: float | None = None
        self.started_s: float | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case Loading(what="text encoder"):
                self.text_encoder_from_s = time.monotonic()
            case Started():
                self.started_s = time.monotonic()
            case ChunkStarted(chunk=chunk):
                self._mark(chunk, WAITING)
            case Stage(chunk=chunk, stage=stage) if stage != "writing":
                self._mark(chunk, stage)
            case ChunkDone(chunk=chunk, frames=frames):
                self._frames[chunk] = frames
                self._mark(chunk, BETWEEN)
        for observe in self._observers:
            observe(event)

    def _mark(self, chunk: int, stage: str) -> None:
        event = None
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        self._marks.append(Mark(chunk, stage, time.monotonic(), event))

    def chunks(self) -> list[ChunkTimes]:
        """Return the times of all chunks. Waits for the GPU."""
        times: dict[int, dict[str, float]] = {}
        if self._cuda:
            torch.cuda.synchronize()
        for mark, following in pairwise(self._marks):
            stages = times.setdefault(mark.chunk, {})
            stages[mark.stage] = stages.get(mark.stage, 0.0) + _milliseconds(mark, following)
        return [
            ChunkTimes(chunk, self._frames.get(chunk, 0), sum(stages.values()), stages)
            for chunk, stages in times.items()
        ]

    def first_frame_s(self) -> float:
        """Return the seconds from the creation of this clock to the frames of the first chunk on the host."""
        first = self.chunks()[0]
        made_ms = sum(ms for stage, ms in first.stages.items() if stage != BETWEEN)
        return self._marks[0].host_s - self.began_s + made_ms / 1000

    def text_encoder_s(self) -> float | None:
        """Return the seconds to load the text encoder, encode and allocate caches; None if all prompts were cached."""
        if self.text_encoder_from_s is None or self.started_s is None:
            return None
        return self.started_s - self.text_encoder_from_s


def _milliseconds(mark: Mark, following: Mark) -> float:
    if mark.event is None:
        return 1000 * (following.host_s - mark.host_s)
    return float(mark.event.elapsed_time(following.event))
