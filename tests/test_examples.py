"""Every example does what it says, most of them in a smaller picture than they ship with."""

from __future__ import annotations

import runpy
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
from scope_batch.media.open import open_source
from scope_batch.render.prepare import prepare_job

EXAMPLES = Path(__file__).parents[1] / "examples"
JOBS = sorted(EXAMPLES.glob("*.yaml"))
SMALL = ("--set", "height=64", "--set", "width=112")
IN_FULL_SIZE = ("first_to_last", "slate", "video_to_video")
"""Text and images, no model, and a clip that needs no fitting. The plans below are all of the size that ships."""


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
@pytest.mark.usefixtures("folder", "trained_set")
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_a_job_renders_exactly_the_frames_that_it_plans(job: Path) -> None:
    size = () if job.stem in IN_FULL_SIZE else SMALL
    assert main(["render", f"examples/{job.name}", *size, "-q"]) == 0
    outputs = [Path(str(output.path)) for output in load_job(job).output]
    assert outputs and frame_counts(outputs) == [prepare_job(load_job(job)).num_frames] * len(outputs)


@pytest.mark.parametrize("job", [job for job in JOBS if job.stem != "slate"], ids=lambda job: job.stem)
def test_a_job_plans_without_a_warning(job: Path) -> None:
    assert prepare_job(load_job(job)).warnings == ()


def test_the_slate_warns_as_its_comment_says() -> None:
    (warning,) = prepare_job(load_job(EXAMPLES / "slate.yaml")).warnings
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
        assert sheet.width > 6 * 208 and sheet.height > 5 * 112
    assert frame_counts([Path("out/slate.gif")]) == [61]
    assert "Nothing to be done" in run(*make, folder=folder)


def test_assets_ship_small() -> None:
    sizes = [path.stat().st_size for path in (EXAMPLES / "clip.mp4", *(EXAMPLES / "assets").iterdir())]
    assert sum(sizes) < 500_000


def test_assets_are_what_their_script_makes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_assets.py", str(folder / "made")])
    runpy.run_path(str(EXAMPLES / "make_assets.py"))
    shipped = {path.name: path for path in (EXAMPLES / "assets").iterdir() if path.suffix != ".safetensors"}
    made = {path.name: path for path in (folder / "made").iterdir()}
    assert made.keys() == shipped.keys()
    for name, path in shipped.items():
        if path.suffix == ".png":
            assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(made[name])))
        else:
            assert frame_counts([path]) == frame_counts([made[name]])


def test_steering_is_in_the_plans() -> None:
    plans = {job.stem: prepare_job(load_job(job)) for job in JOBS}
    sources = {name: [chunk.vace for chunk in plan.chunks if chunk.vace] for name, plan in plans.items()}
    assert all(vace.timeline for name in ("depth_guided", "inpainting") for vace in sources[name])
    assert {placement.source.kind for placement in plans["inpainting"].placements} == {"control", "masks"}
    assert [vace.stills[0].path.name for vace in sources["first_to_last"]] == ["first.png", "last.png"]
    assert sources["first_to_last"][1].stills[0].end == plans["first_to_last"].chunks[-1].keep
    assert len(sources["reference_image"]) == len(plans["reference_image"].chunks)
    assert [chunk.lora_scales for chunk in plans["lora_ramp"].chunks] == [(0,), (0.25,), (0.5,), (0.75,), (1,)]
    assert [chunk.noise_scale for chunk in plans["keyframed_noise"].chunks] == [0.3, 0.9, 0.5]
