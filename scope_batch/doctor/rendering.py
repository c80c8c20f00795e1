"""Renders a short job with the tiny built-in model set."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scope_batch.doctor.finding import Finding
from scope_batch.errors import ScopeBatchError
from scope_batch.job import load_text
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions

JOB = "prompt: a cat walking in the rain\nnum_frames: 21\nheight: 64\nwidth: 96\n"


def check() -> Iterator[Finding]:
    """Render two chunks to a temporary .mp4. The first call takes some seconds to create the set."""
    started_s = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="scope-batch-") as folder:
            options = RenderOptions(outputs=(str(Path(folder, "tiny.mp4")),), models="tiny")
            done = render_job(load_text(JOB, name="doctor"), "doctor", options)
    except ScopeBatchError as error:
        text = f"the tiny set does not render: {error}"
        yield Finding("render", "fault", text, "see the findings above")
        return
    took_s = time.perf_counter() - started_s
    text = f"{done.frames} frames of the tiny set in {took_s:.1f} s, loading included"
    yield Finding("render", "ok", text, values={"frames": done.frames, "seconds": round(took_s, 2)})
