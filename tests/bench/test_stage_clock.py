"""Stages are timed from one event to the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scope_batch.bench import stage_clock
from scope_batch.bench.stage_clock import BETWEEN, WAITING, StageClock
from scope_batch.events import ChunkDone, ChunkStarted, Event, Loading, Stage, Started

DONE = ChunkDone(0, 2, 12, 12, 24, 1.0, 1.0, 1.0, 1.0, "a")
STARTED = Started("longlive", 2, 24, 16.0, 64, 64, (), 1.0)
EVENTS: list[tuple[float, Event]] = [
    (1.0, Loading("text encoder")),
    (3.0, STARTED),
    (4.0, ChunkStarted(0, "a")),
    (4.5, Stage(0, "denoising", 1, 2)),
    (5.0, Stage(0, "denoising", 2, 2)),
    (5.1, Stage(0, "writing")),
    (6.0, Stage(0, "decoding")),
    (7.0, DONE),
    (7.5, ChunkStarted(1, "a")),
    (8.0, replace(DONE, chunk=1)),
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StageClock:
    now: list[float] = [0.0]
    monkeypatch.setattr(stage_clock.time, "monotonic", lambda: now[0])
    seen: list[Any] = []
    clock = StageClock(cuda=False, observers=(seen.append,))
    for now[0], event in EVENTS:
        clock(event)
    assert seen == [event for _, event in EVENTS]
    return clock


def test_a_chunk_reaches_to_the_next_one(clock: StageClock) -> None:
    first, second = clock.chunks()
    assert first.stages == {WAITING: 500, "denoising": 1500, "decoding": 1000, BETWEEN: 500}
    assert (first.total, first.frames) == (3500, 12)
    assert second.stages == {WAITING: 500}


def test_what_comes_before_the_chunks(clock: StageClock) -> None:
    assert clock.text_encoder_s() == 2
    assert clock.first_frame_s() == 7
