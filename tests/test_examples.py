"""Every example does what it says, at the settings that it ships with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.__main__ import main
from scope_batch.job import load_job
from scope_batch.media.source import open_source
from scope_batch.prepare import prepare

EXAMPLES = Path(__file__).parents[1] / "examples"
JOBS = sorted(EXAMPLES.glob("*.yaml"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with the examples in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    return tmp_path


def run(*command: str, folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def frame_counts(paths: Sequence[Path]) -> list[int]:
    counts = []
    for path in paths:
        with open_source(path) as source:
            counts.append(source.frames)
    return counts


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_a_job_renders_exactly_the_frames_that_it_plans(job: Path) -> None:
    assert main(["render", f"examples/{job.name}", "-q"]) == 0
    outputs = [Path(str(output.path)) for output in load_job(job).output]
    assert outputs and frame_counts(outputs) == [prepare(load_job(job)).num_frames] * len(outputs)


@pytest.mark.parametrize("job", [job for job in JOBS if job.stem != "slate"], ids=lambda job: job.stem)
def test_a_job_plans_without_a_warning(job: Path) -> None:
    assert prepare(load_job(job)).warnings == ()


def test_the_slate_warns_as_its_comment_says() -> None:
    (warning,) = prepare(load_job(EXAMPLES / "slate.yaml")).warnings
    assert "it starts over from frame 37" in warning


def test_the_python_example_renders(folder: Path) -> None:
    last = run(sys.executable, "examples/render.py", "examples/slate.yaml", folder=folder).splitlines()[-1]
    assert last.startswith("done: 61 frames in out/api.npy")
    assert len(np.load("out/api.npy", mmap_mode="r")) == 61


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_makefile_makes_what_is_missing_and_nothing_twice(folder: Path) -> None:
    make = ("make", "-C", "examples", f"PYTHON={sys.executable}", f"OUT={folder}/out", "JOBS=slate")
    run(*make, folder=folder)
    with Image.open("out/slate.png") as sheet:
        assert sheet.size == (3 * 224, 2 * 128)
    assert frame_counts([Path("out/slate.gif")]) == [61]
    assert "Nothing to be done" in run(*make, folder=folder)


def test_the_clip_ships_small() -> None:
    assert (EXAMPLES / "clip.mp4").stat().st_size < 300_000
