"""Measures the command line: the time of the quick commands, and the memory of a long render."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, stopwatch

COMMAND = str(Path(sys.executable).with_name("scope-batch"))
MIB = 1 << 20
_SMALL_JOB = "pipeline_id: slate\nprompt: a cat\nnum_frames: 120\nheight: {height}\nwidth: {width}\n"


def start(folder: Path, *, repeat: int = 5) -> list[Figure]:
    """Measure the wall time of `--help`, `plan` of a small job and `schema`, alternately, with one warm-up each."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        job = _job(Path(place), 480, 832)
        calls = {"--help": ["--help"], "plan": ["plan", str(job)], "schema": ["schema"]}
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(repeat + 1):
            for name, args in calls.items():
                with stopwatch(seconds[name]):
                    subprocess.run([COMMAND, *args], check=True, capture_output=True, cwd=place)
    bounds = {"--help": 0.4}
    return [Figure(f"start: {name}", "s", tuple(s[1:]), at_most=bounds.get(name)) for name, s in seconds.items()]


def memory(
    folder: Path, *, short: int = 120, long: int = 1200, height: int = 480, width: int = 832, repeat: int = 3
) -> list[Figure]:
    """Compare the peak resident memory of a short and a long render to MP4 and NPY, without the encoder's."""
    peaks: dict[int, list[float]] = {short: [], long: []}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        job = _job(Path(place), height, width)
        for _ in range(repeat):
            for frames, found in peaks.items():
                found.append(_render(job, frames)["peak_host_bytes"] / MIB)
    growth = tuple(b - a for a, b in zip(peaks[short], peaks[long], strict=True))
    return [
        Figure("memory: growth", "MiB", growth, at_most=64, note=f"peak at {long} less that at {short} frames"),
        *(Figure(f"memory: peak at {frames} frames", "MiB", tuple(found)) for frames, found in peaks.items()),
    ]


def _job(folder: Path, height: int, width: int) -> Path:
    job = folder / "job.yaml"
    job.write_text(_SMALL_JOB.format(height=height, width=width))
    return job


def _render(job: Path, frames: int) -> dict[str, Any]:
    """Render with `frames` frames; returns the terminal event."""
    args = ["render", str(job), "--set", f"num_frames={frames}", "-o", "out.mp4", "-o", "out.npy", "--overwrite"]
    call = subprocess.run(
        [COMMAND, *args, "--progress", "json"], check=True, capture_output=True, text=True, cwd=job.parent
    )
    events = [json.loads(line) for line in call.stderr.splitlines()]
    finished: dict[str, Any] = events[-1]
    assert finished["event"] == "finished" and finished["frames"] == frames, finished
    return finished
