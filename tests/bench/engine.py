"""Measures the stages of a chunk on this CPU, and the allocations of a transformer pass, with the tiny models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scope_batch.bench.measure import Bench
from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Plan
from scope_batch.events import silent
from scope_batch.job import Job, load_job
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_job
from scope_batch.render.engine_pool import load_engine
from scope_batch.render.options import RenderOptions
from tests.bench.figures import Figure

MIB = 1 << 20
_LISTED = 6
_PASSES = ("context", "recaching", "denoising", "caching")


def engine(folder: Path, *, chunks: int = 6, height: int = 192, width: int = 320) -> list[Figure]:
    """Return seconds per chunk and the share of each stage, as `scope-batch bench` measures them."""
    frames = 9 + 12 * (chunks - 1)
    fields = {"prompt": "a cat", "num_frames": frames, "height": height, "width": width}
    with TemporaryDirectory(dir=folder) as place:
        bench = Bench(RenderOptions(), warmup=1, output="npy", profile=False, folder=Path(place))
        run = bench.run(load_job(fields, models="tiny"), "text", "off", 0)
    begin, end = run.measured
    measured = run.chunks[begin : end + 1]
    decoding = tuple(100 * times.stages["decoding"] / times.total for times in measured)
    passes = tuple(100 * sum(times.stages.get(name, 0.0) for name in _PASSES) / times.total for times in measured)
    rest = tuple(100 - a - b for a, b in zip(decoding, passes, strict=True))
    seconds = tuple(times.total / 1000 for times in measured)
    return [
        Figure("engine: chunk", "s", seconds, note=f"12 frames of {width}x{height}"),
        Figure("engine: VAE decode", "%", decoding),
        Figure("engine: transformer", "%", passes),
        Figure("engine: everything else", "%", rest),
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
