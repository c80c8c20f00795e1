"""The gallery's pictures are what its jobs render."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.job import load_job
from scope_batch.render.prepare import prepare_job

GALLERY = Path(__file__).parents[1] / "examples" / "gallery"
JOBS = sorted(GALLERY.glob("*.yaml"))


def frames(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        shown = []
        for index in range(picture.n_frames):
            picture.seek(index)
            shown.append(np.asarray(picture.convert("RGB"), np.float32))
    return np.stack(shown)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_a_job_has_a_picture_of_as_many_frames_and_both_are_shown(job: Path) -> None:
    plan = prepare_job(load_job(job))
    with Image.open(job.with_suffix(".webp")) as picture:
        assert picture.n_frames == plan.num_frames and picture.width == 4 * plan.width + 8
    page = (GALLERY / "README.md").read_text()
    assert f"({job.name})" in page and f"({job.stem}.webp)" in page


def test_the_pictures_ship_small() -> None:
    assert sum(path.stat().st_size for path in GALLERY.iterdir() if path.is_file()) < 4_000_000


@pytest.mark.slow
@pytest.mark.usefixtures("trained_set")
def test_a_picture_built_anew_is_the_one_that_ships(tmp_path: Path) -> None:
    command = [sys.executable, str(GALLERY / "build.py"), "first_to_last", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    made, shipped = frames(tmp_path / "first_to_last.webp"), frames(GALLERY / "first_to_last.webp")
    assert made.shape == shipped.shape
    assert np.abs(made - shipped).mean() < 2  # of 255: kernels of other CPUs round differently, and WebP is lossy
