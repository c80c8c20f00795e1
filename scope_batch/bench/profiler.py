"""Profiles some chunks of a render with torch: kernels, launches, waits of the host, and how long the GPU is idle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from scope_batch.events import ChunkDone, ChunkStarted, Event

_LAUNCH = re.compile(r"cu(da)?(Launch|GraphLaunch|MemcpyAsync|MemsetAsync)")
_WAIT = re.compile(r"cu(da)?(Stream|Device|Ctx)Synchronize|cudaMemcpy$")
_LISTED = 12


@dataclass(frozen=True, slots=True)
class Profile:
    """Figures of one chunk, as a mean; times in milliseconds.

    launches    calls of the driver: kernels, graphs, copies. kernels: what ran on the GPU.
    host_waits  calls that block the host until a stream or the device has finished.
    idle_share  of the time from the first kernel to the last one.
    largest     the kernels with the most time: name, milliseconds, calls.
    """

    chunks: int
    busy: float
    kernels: float
    launches: float
    host_waits: float
    idle_share: float
    largest: tuple[tuple[str, float, float], ...]


class ChunkProfiler:
    """Runs torch's profiler from the start of chunk `first` to the end of chunk `last`, by their events."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._profiler: Any = None
        self.result: Profile | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChunkStarted) and event.chunk == self._first:
            torch.cuda.synchronize()
            self._profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
            self._profiler.__enter__()
        if isinstance(event, ChunkDone) and event.chunk == self._last and self._profiler is not None:
            # Read now: to end the profile waits for the device itself.
            self._profiler.__exit__(None, None, None)
            self.result = summary(list(self._profiler.events()), self._last - self._first + 1)
            self._profiler = None


def summary(events: list[Any], chunks: int) -> Profile:
    """Sum up the events of a profile over `chunks` chunks."""
    on_gpu = [event for event in events if event.device_type.name == "CUDA" and not event.is_user_annotation]
    spans = sorted((event.time_range.start, event.time_range.end) for event in on_gpu)
    busy, reached = 0.0, spans[0][0] if spans else 0.0
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    whole = reached - spans[0][0] if spans else 0.0
    times: dict[str, tuple[float, int]] = {}
    for event in on_gpu:
        time_us, calls = times.get(event.name, (0.0, 0))
        times[event.name] = time_us + event.time_range.end - event.time_range.start, calls + 1
    largest = sorted(times.items(), key=lambda item: -item[1][0])[:_LISTED]
    on_host = [event.name for event in events if event.device_type.name == "CPU"]
    return Profile(
        chunks=chunks,
        busy=busy / 1000 / chunks,
        kernels=len(on_gpu) / chunks,
        launches=sum(bool(_LAUNCH.match(name)) for name in on_host) / chunks,
        host_waits=sum(bool(_WAIT.match(name)) for name in on_host) / chunks,
        idle_share=1 - busy / whole if whole else 0.0,
        largest=tuple((name, us / 1000 / chunks, calls / chunks) for name, (us, calls) in largest),
    )
