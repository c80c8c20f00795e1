"""Whole commands are measured in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_batch.bench.processes import command
from scope_batch.errors import UnavailableError
from scope_batch.job import load_job
from scope_batch.render.options import RenderOptions

FIELDS = {"pipeline_id": "slate", "prompt": "a", "num_frames": 30, "height": 64, "width": 64}


def test_a_command(tmp_path: Path) -> None:
    done = command("end to end", load_job(FIELDS), "job", RenderOptions(), tmp_path, frames=12, output="npy")
    assert (done.frames, done.width) == (12, 64) and done.to_json()["fps"] > 0
    assert 0 < done.started_s < done.finished_s < done.whole_s
    assert not list(tmp_path.iterdir())


def test_one_that_fails_says_why(tmp_path: Path) -> None:
    job = load_job({**FIELDS, "input_path": str(tmp_path / "gone.mp4")})
    with pytest.raises(UnavailableError, match=r"render ended with 66: .*gone\.mp4"):
        command("end to end", job, "job", RenderOptions(), tmp_path, frames=12, output="npy")
