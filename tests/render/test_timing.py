"""Clip, control and masks lie on one timeline: frame numbers are grey levels, and the pixels tell which is where."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from scope_batch.core.plan import Plan
from scope_batch.media.chunk_inputs import InputReader
from tests.media.conftest import write_lossless
from tests.render.helpers import SLATE, ffmpeg, plan_of

STEP = 3
"""Grey levels from one frame of a clip to the next."""
Numbers = list[int]


def numbered(path: Path, frames: int, fps: Fraction | int = 30) -> Path:
    """A clip of 64x64 whose frame n is of level 3 * n."""
    levels = (np.arange(frames, dtype=np.uint8) * STEP)[:, None, None, None]
    pixels = np.broadcast_to(levels, (frames, 64, 64, 3))
    if path.suffix == ".npy":
        np.save(path, np.ascontiguousarray(pixels))
        return path
    return write_lossless(path, np.ascontiguousarray(pixels), fps)


def shown(plan: Plan) -> tuple[Numbers, Numbers]:
    """Return, per delivered frame, the frame of the clip it is made from and the frame of control that steers it."""
    clip: list[NDArray[Any]] = []
    control: list[NDArray[Any]] = []
    with InputReader(plan) as reader:
        for chunk in plan.chunks:
            inputs = reader.read(chunk)
            if inputs.pixels is not None:
                clip += [*inputs.pixels[: chunk.keep]]
            if inputs.control is not None:
                control += [*inputs.control.frames[chunk.lead :][: chunk.keep]]
    return [number(frame) for frame in clip], [number((frame + 1) * 127.5) for frame in control]


def number(frame: NDArray[Any]) -> int:
    assert np.ptp(frame) < 0.01
    return round(float(frame.mean()) / STEP)


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Any]:
    """A clip of 60 frames at 30 fps and its depth, alike."""
    return {
        **SLATE,
        "input_path": str(numbered(tmp_path / "clip.mkv", 60)),
        "vace_frames": str(numbered(tmp_path / "depth.mkv", 60)),
        "num_frames": "input",
    }


@pytest.mark.parametrize(
    ("fields", "frames"),
    [
        ({}, range(60)),
        ({"input_fps": 15}, range(0, 60, 2)),
        ({"input_start": 1.0}, range(30, 60)),
        ({"input_fps": 10, "input_start": 0.5, "input_end": 1.5}, range(15, 45, 3)),
        ({"input_start": 1.0, "num_frames": 40, "vace_length": "loop"}, [*range(30, 60), *range(30, 40)]),
    ],
)
def test_each_frame_of_the_clip_meets_its_own_control(
    pair: dict[str, Any], fields: dict[str, Any], frames: Any
) -> None:
    assert shown(plan_of(pair, **fields)) == ([*frames], [*frames])


@pytest.mark.parametrize("name", ["depth.npy", "slow.mkv"])
def test_control_without_the_clip_s_rate_meets_it_frame_for_frame(
    pair: dict[str, Any], tmp_path: Path, name: str
) -> None:
    depth = numbered(tmp_path / name, 60, fps=12)
    clip, control = shown(plan_of(pair, vace_frames=str(depth), input_fps=15, input_start=0.5))
    assert clip == control == [*range(15, 60, 2)]


def test_masks_are_placed_as_the_clip_they_belong_to(pair: dict[str, Any], tmp_path: Path) -> None:
    """White from frame 30 on: with input_start at frame 20, from delivered frame 10 on."""
    mask = np.zeros((60, 64, 64, 3), np.uint8)
    mask[30:] = 255
    fields = {"vace_masks": str(write_lossless(tmp_path / "mask.mkv", mask, 30)), "input_start": 0.667}
    plan = plan_of(pair, **fields)
    with InputReader(plan) as reader:
        read = [reader.read(chunk).control for chunk in plan.chunks]
    masks = [float(m.mean()) for c, k in zip(read, plan.chunks, strict=True) if c for m in c.masks[k.lead :][: k.keep]]
    assert masks == [0] * 9 + [1] * 30


def test_a_clip_whose_rate_varies_times_the_control_that_was_made_of_it(pair: dict[str, Any], tmp_path: Path) -> None:
    """Frames 7 and 30 of the recording are missing in the clip; its depth has a frame for each that is there."""
    gaps = tmp_path / "gaps.mkv"
    drop = ["-vf", "select='not(eq(n,7)+eq(n,30))'", "-fps_mode", "passthrough", "-c:v", "ffv1", "-pix_fmt", "bgr0"]
    ffmpeg("-i", pair["input_path"], *drop, gaps)
    depth = str(numbered(tmp_path / "of_gaps.mkv", 58))
    clip, control = shown(plan_of(pair, input_path=str(gaps), vace_frames=depth, input_fps=30))
    whole = [*range(7), 6, *range(8, 30), 29, *range(31, 60)]
    assert clip == whole
    assert control == [n - (n > 7) - (n > 30) for n in whole]


def test_control_of_another_rate_is_picked_by_time_with_vace_fps(pair: dict[str, Any], tmp_path: Path) -> None:
    depth = str(numbered(tmp_path / "fast.mkv", 48, fps=24))
    job = {**SLATE, "vace_frames": depth, "num_frames": 32}
    assert shown(plan_of(job))[1] == [*range(32)]
    assert shown(plan_of(job, vace_fps=16))[1] == [i * 24 // 16 for i in range(32)]
    assert shown(plan_of(job, vace_fps=16, vace_start=0.5, num_frames=24))[1] == [12 + i * 24 // 16 for i in range(24)]
    clip, control = shown(plan_of(pair, vace_frames=depth, vace_fps=30))
    assert (clip, control) == ([*range(60)], [i * 24 // 30 for i in range(60)])


def test_plan_warns_of_control_at_another_speed(tmp_path: Path) -> None:
    depth = str(numbered(tmp_path / "fast.mkv", 48, fps=24))
    (warning,) = plan_of(SLATE, vace_frames=depth, num_frames=48).warnings
    assert "it has 24 fps, the job 16" in warning and "1.5x slow" in warning and "1.00 s behind" in warning


def test_a_still_holds_by_itself(tmp_path: Path) -> None:
    Image.new("L", (64, 64), 255).save(tmp_path / "all.png")
    Image.new("RGB", (64, 64), (30, 30, 30)).save(tmp_path / "still.png")
    job = {**SLATE, "num_frames": 21, "vace_masks": str(tmp_path / "all.png")}
    assert shown(plan_of(job, vace_frames=str(tmp_path / "still.png")))[1] == [10] * 21
