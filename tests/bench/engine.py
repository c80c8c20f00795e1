"""Measures the stages of a chunk on this CPU, and the allocations of a transformer pass, with the tiny models."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Plan
from scope_batch.events import Event, Stage, silent
from scope_batch.job import Job
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_job
from scope_batch.render.engine_pool import load_engine
from tests.bench.figures import Figure

MIB = 1 << 20
_LISTED = 6


def engine(folder: Path, *, chunks: int = 6, height: int = 192, width: int = 320) -> list[Figure]:  # noqa: ARG001
    """Return seconds per chunk and the share of each stage, by stage events; the first chunk is not counted."""
    clock = _StageClock()
    plan = _plan(chunks, height, width)
    with _tiny().session(plan, clock) as session:
        for chunk in plan.chunks:
            clock.begin()
            session.generate(chunk)
            clock.end()
    chunks_s = clock.chunks[1:]
    seconds = [sum(chunk.values()) for chunk in chunks_s]
    names = {"decoding": "VAE decode", "denoising": "transformer", "": "everything else"}
    return [
        Figure("engine: chunk", "s", tuple(seconds), note=f"12 frames of {width}x{height}"),
        *(
            Figure(f"engine: {name}", "%", tuple(100 * c[stage] / s for c, s in zip(chunks_s, seconds, strict=True)))
            for stage, name in names.items()
        ),
    ]


def allocations(folder: Path, *, height: int = 192, width: int = 320) -> list[Figure]:  # noqa: ARG001
    """Measure what one chunk with a full window allocates outside the VAE, by operator."""
    from torch.profiler import ProfilerActivity, profile

    plan = _plan(6, height, width)
    with _tiny().session(plan, silent) as session:
        # Only the transformer is looked at.
        lengths = iter([chunk.frames for chunk in plan.chunks])
        session._state.decoder.decode = lambda _: _undecoded(next(lengths))
        for chunk in plan.chunks[:-1]:
            session.generate(chunk)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
            session.generate(plan.chunks[-1])
    passes = len(plan.chunks[-1].denoising_steps) + 1
    taken, calls = _by_operator(profiler.events())
    worst = taken.most_common(_LISTED)
    return [
        Figure("allocations: per pass", "MiB", (sum(taken.values()) / passes / MIB,), note=f"{passes} passes a chunk"),
        *(
            Figure(
                f"allocations: {name}", "MiB", (size / passes / MIB,), note=f"{calls[name] / passes:.1f} calls a pass"
            )
            for name, size in worst
        ),
    ]


class _StageClock:
    """Records, for every chunk, the seconds from each stage event to the next one."""

    def __init__(self) -> None:
        self.chunks: list[Counter[str]] = []
        self._stage, self._since_s = "", 0.0

    def begin(self) -> None:
        self.chunks.append(Counter())
        self._stage, self._since_s = "", time.perf_counter()

    def end(self) -> None:
        now_s = time.perf_counter()
        self.chunks[-1][self._stage] += now_s - self._since_s
        self._since_s = now_s

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stage) and self.chunks:
            self.end()
            self._stage = "denoising" if event.stage in ("context", "recaching", "caching") else event.stage


def _by_operator(events: Any) -> tuple[Counter[str], Counter[str]]:
    """Return bytes and calls of every operator that itself allocates more than it frees."""
    taken: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        if event.self_cpu_memory_usage > 0:
            # An `empty` is made for someone: the operator that called it says more.
            owner = event
            while owner.cpu_parent is not None and owner.name in _ALLOCATORS:
                owner = owner.cpu_parent
            taken[owner.name] += event.self_cpu_memory_usage
            calls[owner.name] += 1
    return taken, calls


_ALLOCATORS = frozenset(
    [
        "aten::empty",
        "aten::empty_like",
        "aten::empty_strided",
        "aten::resize_",
        "aten::_to_copy",
        "aten::clone",
        "aten::contiguous",
    ]
)


def _undecoded(frames: int) -> tuple[Any, Any]:
    import torch

    return torch.zeros(frames, 8, 8, 3, dtype=torch.uint8), torch.tensor(True)


def _plan(chunks: int, height: int, width: int) -> Plan:
    job = Job(prompt="a red ball", num_frames=9 + 12 * (chunks - 1), height=height, width=width)
    return plan_job(job, PIPELINES["longlive"], None)


def _tiny() -> Any:
    return load_engine(EngineRequest(PIPELINES["longlive"], models="tiny", device="cpu"), silent)
