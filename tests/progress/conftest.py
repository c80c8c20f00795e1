"""Provides a manual clock and the events of a small render."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from scope_batch.events import ChunkDone, Finished, OutputFile, Started


@dataclass
class FakeClock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pass_(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def started() -> Started:
    return Started("longlive", 3, 33, 16.0, 480, 832, ("out/cat.mp4", "cat.npy"), 12.3)


@pytest.fixture
def done() -> Callable[..., ChunkDone]:
    def make(chunk: int, prompt: str = "a cat", seconds: float = 4.0) -> ChunkDone:
        made = 9 + 12 * chunk
        return ChunkDone(chunk, 3, 12, made, 33, seconds, seconds * (chunk + 1), 3.0, 4.0 * (2 - chunk), prompt)

    return make


@pytest.fixture
def finished() -> Finished:
    files = (OutputFile("out/cat.mp4", 1_300_000), OutputFile("cat.npy", 900))
    return Finished("done", 33, 33, 12.3, 11.0, 3.0, 3 << 30, 10 << 30, files)
