"""Measures the planner with a job of a million frames, with one prompt and with thousands of entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scope_batch.job import Job
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_job
from tests.bench.figures import Figure, stopwatch

_EVERY_FRAMES = 240


def planner(folder: Path, *, frames: int = 1_000_000, repeat: int = 3) -> list[Figure]:  # noqa: ARG001  (writes nothing)
    """Measure a job with one prompt, and one with a transition of eight chunks to a new prompt every 240 frames."""
    entries = [_entry(frame) for frame in range(_EVERY_FRAMES, frames, _EVERY_FRAMES)]
    jobs = {"one prompt": [], f"{len(entries)} transitions": entries}
    return [
        Figure(f"planner: {name}", "s", _seconds(frames, schedule, repeat), note=f"{frames} frames")
        for name, schedule in jobs.items()
    ]


def _entry(frame: int) -> dict[str, Any]:
    return {"frame": frame, "text": f"scene {frame}", "transition_num_steps": 8}


def _seconds(frames: int, entries: list[dict[str, Any]], repeat: int) -> tuple[float, ...]:
    seconds: list[float] = []
    job = Job(prompt="a lighthouse at dusk", num_frames=frames, chunk_specs=entries)
    for _ in range(repeat):
        with stopwatch(seconds):
            plan = plan_job(job, PIPELINES["longlive"], None)
        assert plan.num_frames == frames
    return tuple(seconds)
