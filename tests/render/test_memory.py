"""The length of a job costs no memory: chunk by chunk in, chunk by chunk out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scope_batch.media.ffmpeg import ffmpeg_exe
from tests.render.helpers import SLATE, running, write_job

MARGIN_KB = 64 << 10
"""A fifth of 1080 frames of 416 x 240."""
ENCODER = """#!{python} -IS
import resource, subprocess, sys
code = subprocess.call([{ffmpeg!r}, *sys.argv[1:]], close_fds=False)
if "pipe:0" in sys.argv:
    with open({report!r}, "w") as file:
        file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Runs ffmpeg, and tells when it has ended how much the encoder held: it may end before a test looks at it."""


def peaks_kb(folder: Path, frames: int, output: str, **fields: Any) -> dict[str, int]:
    """The most memory that the program, and its encoder, have held.

    Of the program from the kernel's high-water mark: `ru_maxrss` begins at what the process that started it has held,
    which is little where `ENCODER` starts one.
    """
    job = write_job(folder / "job.yaml", SLATE | {"height": 240, "width": 416}, num_frames=frames, **fields)
    report, encoder = folder / "encoder_kb", folder / "ffmpeg"
    encoder.write_text(ENCODER.format(python=sys.executable, ffmpeg=str(ffmpeg_exe()), report=str(report)))
    encoder.chmod(0o755)
    environment = os.environ | {"IMAGEIO_FFMPEG_EXE": str(encoder)}
    with running(folder, job, "-o", output, "-y", env=environment) as render:
        assert render.rest() == 0
    peaks = {"program": render.lines[-1]["peak_host_bytes"] >> 10}
    if output.endswith(".mp4"):
        peaks["encoder"] = int(report.read_text())
    return peaks


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("name", ["out.npy", "out.mp4"])
def test_ten_times_as_long_takes_as_much(tmp_path: Path, name: str) -> None:
    short, long = (peaks_kb(tmp_path, frames, name) for frames in (120, 1200))
    print(name, short, long)
    assert long.keys() == short.keys()
    assert all(long[who] - short[who] < MARGIN_KB for who in long)
    (tmp_path / name).unlink()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_hundred_steered_chunks_take_as_much_as_ten(tmp_path: Path, clip: Path) -> None:
    steered = {"vace_frames": str(clip), "vace_masks": str(clip), "vace_length": "loop", "height": 128, "width": 208}
    images = [{"chunk": k, "first_frame_image": str(clip.with_name(f"{k}.png"))} for k in range(0, 100, 2)]
    for image in images:
        Image.new("RGB", (1600, 900), (2 * image["chunk"], 90, 40)).save(image["first_frame_image"])
    short = peaks_kb(tmp_path, 120, "out.npy", **steered, chunk_specs=images[:5])
    long = peaks_kb(tmp_path, 1200, "out.npy", **steered, chunk_specs=images)
    assert long["program"] - short["program"] < MARGIN_KB


def test_the_peak_is_of_this_process_alone(tmp_path: Path) -> None:
    held = b"x" * (300 << 20)
    job = write_job(tmp_path / "job.yaml", SLATE, num_frames=9)
    with running(tmp_path, job, "-o", "out.npy") as render:
        assert render.rest() == 0
    assert render.lines[-1]["peak_host_bytes"] < len(held)
