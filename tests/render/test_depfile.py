from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from scope_batch.__main__ import main
from scope_batch.errors import JobError
from scope_batch.job import load_job
from scope_batch.render.depfile import depfile_rules
from scope_batch.sinks.output import parse_outputs

EXAMPLES = Path(__file__).parents[2] / "examples"
JOB = """
pipeline_id: slate
prompt: a cat
num_frames: 9
height: 64
width: 64
lora_scales: {look.safetensors: 0.5}
vace_ref_images: [chair one.png]
"""


def write_lora(path: Path, value: float = 1.0) -> None:
    shapes = {"lora_A.weight": (2, 1536), "lora_B.weight": (1536, 2)}
    tensors = {f"blocks.0.attn1.to_v.{name}": np.full(shape, value, np.float32) for name, shape in shapes.items()}
    save_file(tensors, path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `job.yaml`, which reads a LoRA and an image, and `other.png`, which nothing reads."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB)
    write_lora(tmp_path / "look.safetensors")
    for name in ("chair one.png", "other.png"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / name)
    return tmp_path


def test_every_output_depends_on_the_job_and_all_inputs(folder: Path) -> None:
    outputs = parse_outputs(None, ["out/a.mp4", "out/f/%03d.png", "-"], None, "job")
    rule, *phony = depfile_rules(load_job(folder / "job.yaml"), outputs).split("\n\n")
    image = f"{folder}/chair\\ one.png"
    assert rule == f"out/a.mp4 out/f/000.png: {folder}/job.yaml {image} {folder}/look.safetensors"
    assert phony == [f"{folder}/job.yaml:", f"{image}:", f"{folder}/look.safetensors:\n"]


def test_signs_that_make_reads_are_escaped(folder: Path) -> None:
    shutil.move("chair one.png", "a$b#c.png")
    (folder / "job.yaml").write_text(JOB.replace("[chair one.png]", '["a$$b#c.png"]'))
    outputs = parse_outputs(None, ["a.npy"], None, "job")
    assert "a$$b\\#c.png" in depfile_rules(load_job(folder / "job.yaml"), outputs)


def test_a_name_with_a_line_break_is_refused(folder: Path) -> None:
    outputs = parse_outputs(None, ["a\nb.npy"], None, "job")
    with pytest.raises(JobError, match="line break"):
        depfile_rules(load_job(folder / "job.yaml"), outputs)


@pytest.mark.usefixtures("folder")
def test_a_render_writes_it_also_when_there_is_nothing_to_do() -> None:
    for _ in range(2):
        assert main(["render", "job.yaml", "-o", "a.npy", "-n", "-y", "-q", "--depfile", "out/a.d"]) == 0
        rules = Path("out/a.d").read_text()
        assert rules.startswith("a.npy: job.yaml ")
        Path("out/a.d").unlink()


@pytest.fixture
def renders(folder: Path) -> Callable[..., bool]:
    """renders(*options): whether such a call writes the film anew."""

    def call(*options: str) -> bool:
        before = Path("a.npy").stat().st_ino if Path("a.npy").exists() else 0
        assert main(["render", "job.yaml", "-o", "a.npy", "-q", *options]) == 0
        return (folder / "a.npy").stat().st_ino != before

    return call


def test_with_both_options_only_a_change_renders_anew(folder: Path, renders: Callable[..., bool]) -> None:
    assert renders("-n", "-y") and not renders("-n", "-y")
    write_lora(folder / "look.safetensors", 0.5)
    assert renders("-n", "-y") and not renders("-n", "-y")
    Image.new("RGB", (64, 64), "blue").save(folder / "chair one.png")
    assert renders("-n", "-y") and not renders("-n", "-y")
    Image.new("RGB", (64, 64), "blue").save(folder / "other.png")
    (folder / "job.yaml").write_text(f"# a comment\n{JOB}")
    assert not renders("-n", "-y")
    (folder / "job.yaml").write_text(JOB.replace("a cat", "a dog"))
    assert renders("-n", "-y") and not renders("-n", "-y") and renders("-y")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_renders_after_a_change_of_the_job_a_lora_or_an_image_and_after_nothing_else(folder: Path) -> None:
    command = ["make", "-f", str(EXAMPLES / "Makefile"), "out/job.npy", f"PYTHON={sys.executable}"]
    command += ["OUT=out", "JOBS=job", "WIDTH=64", "HEIGHT=64", "FFMPEG=none"]

    def made() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert np.load("out/job.npy", mmap_mode="r").shape == (9, 64, 64, 3)
        return "scope_batch render" in done.stdout

    def touch(name: str) -> None:
        """Make the file newer than the output, and the output newer than all others."""
        now_s = time.time()
        for path in (path for path in folder.iterdir() if path.is_file()):
            os.utime(path, (now_s - 300, now_s - 300))
        os.utime("out/job.npy", (now_s - 200, now_s - 200))
        os.utime(folder / name, (now_s - 100, now_s - 100))

    assert made() and not made()
    for name, reads in (("look.safetensors", True), ("chair one.png", True), ("job.yaml", True), ("other.png", False)):
        touch(name)
        assert made() is reads, name
        os.utime("out/job.npy", (later := Path("out/job.npy").stat().st_mtime + 9, later))
