"""The input video as the job sees it: frame i of the input belongs to frame i of the output."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from scope_batch.core.plan import Plan
from scope_batch.core.timeline import Fill
from scope_batch.errors import JobError
from scope_batch.media import video
from scope_batch.media.chunk_inputs import InputReader
from scope_batch.media.validate import probe_material
from tests.media.conftest import HEIGHT, WIDTH, ffmpeg, random_frames
from tests.media.plans import chunk_of, place, plan_of


def plan_for(
    path: Path, *lengths: int, frames: int | None = None, fill: Fill = "loop", size: tuple[int, int] = (HEIGHT, WIDTH),
    fps: int | None = None, start_s: float | None = None, end_s: float | None = None,
) -> Plan:  # fmt: skip
    """A plan of video chunks of these lengths that delivers `frames` frames of the clip."""
    input_fps = None if fps is None else Fraction(fps)
    placed = place(path, "video", fill=fill)
    material = replace(placed.source, fps=input_fps, start_s=start_s, end_s=end_s)
    chunks = [chunk_of(n, None, mode="video") for n in lengths]
    plan = plan_of(*chunks, placements=(replace(placed, source=material),), num_frames=frames)
    return replace(plan, height=size[0], width=size[1])


def shown(plan: Plan) -> np.ndarray:
    with InputReader(plan) as reader:
        return np.concatenate([reader.read(chunk).pixels for chunk in plan.chunks])


@pytest.mark.parametrize("name", ["clip.mkv", "clip.npy", "clip.mp4"])
def test_frame_i_is_frame_i_of_the_input_bit_for_bit(lossless, tmp_path, name):
    encode = ("-c:v", "libx264rgb", "-qp", "0", "-bf", "3") if name == "clip.mp4" else ()
    path, frames = lossless(37, name if name != "clip.npy" else "x.mkv", 25, *encode)
    if name == "clip.npy":
        np.save(path := tmp_path / name, frames)
    plan = plan_for(path, 13, 12, 12)
    assert probe_material(plan.placements[0].source).frames == 37
    np.testing.assert_array_equal(shown(plan), frames)


def test_chunks_in_order_come_from_one_decoder(lossless, monkeypatch):
    path, frames = lossless(37)
    started = []
    child = video.Child
    monkeypatch.setattr(video, "Child", lambda *a, **k: started.append(1) or child(*a, **k))
    np.testing.assert_array_equal(shown(plan_for(path, 13, 12, 12, 12, frames=49, fill="hold"))[:37], frames)
    assert len(started) == 1


def test_chunks_in_any_order_hold_the_same_frames(lossless):
    path, frames = lossless(20)
    plan = plan_for(path, 5, 4, 3, 8)
    with InputReader(plan) as reader:
        for chunk in [plan.chunks[i] for i in (2, 0, 1, 3, 3, 0)]:
            expected = frames[chunk.first_frame : chunk.first_frame + chunk.frames]
            np.testing.assert_array_equal(reader.read(chunk).pixels, expected)


def test_pixels_are_the_callers_own(lossless):
    path, frames = lossless(5)
    plan = plan_for(path, 4, 4, fill="hold")
    with InputReader(plan) as reader:
        reader.read(plan.chunks[0]).pixels[:] = 0
        np.testing.assert_array_equal(reader.read(plan.chunks[1]).pixels[0], frames[4])


def test_loop_and_hold_fill_delivered_frames_and_the_last_one_is_held_beyond(lossless):
    path, frames = lossless(5)
    looped = plan_for(path, 5, 8, frames=12)
    np.testing.assert_array_equal(shown(looped), frames[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 1]])
    held = plan_for(path, 10, frames=8, fill="hold")
    np.testing.assert_array_equal(shown(held), frames[[0, 1, 2, 3, 4, 4, 4, 4, 4, 4]])


def test_beyond_the_last_delivered_frame_no_further_frame_of_the_input_is_shown(lossless):
    path, frames = lossless(20)
    np.testing.assert_array_equal(shown(plan_for(path, 8, 5, frames=10))[8:], frames[[8, 9, 9, 9, 9]])


@pytest.mark.parametrize(("fps", "indices"), [(10, [0, 2, 5, 7, 10, 12, 15, 17]), (50, np.arange(40) // 2)])
def test_resampling_takes_frames_by_time(lossless, fps, indices):
    path, frames = lossless(20)
    plan = plan_for(path, len(indices), fps=fps)
    assert probe_material(plan.placements[0].source).frames == len(indices)
    np.testing.assert_array_equal(shown(plan), frames[indices])


def test_trimming_takes_the_frames_in_between(lossless):
    path, frames = lossless(20)
    plan = plan_for(path, 7, start_s=0.2, end_s=0.4)
    assert probe_material(plan.placements[0].source).frames == 5
    np.testing.assert_array_equal(shown(plan), frames[[5, 6, 7, 8, 9, 5, 6]])


def test_a_variable_rate_is_refused_or_sampled_by_time_and_control_frames_are_counted(lossless, tmp_path):
    path, frames = lossless(12, "even.mkv", 25)
    uneven = tmp_path / "uneven.mkv"
    ffmpeg("-i", path, "-vf", "setpts='if(lt(N,6),N,6+(N-6)*3)/25/TB'", "-fps_mode", "passthrough", "-c:v", "ffv1",
           "-pix_fmt", "bgr0", uneven)  # fmt: skip
    with pytest.raises(JobError, match=r"uneven.mkv: its frame rate varies; `input_fps: N`"):
        probe_material(plan_for(uneven, 15).placements[0].source)
    expected = [0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8]
    np.testing.assert_array_equal(shown(plan_for(uneven, 15, fps=25)), frames[expected])
    assert probe_material(place(uneven, "control").source).frames == 12


def test_every_kind_of_input_is_fitted_alike(lossless, tmp_path):
    path, frames = lossless(3)
    np.save(tmp_path / "clip.npy", frames)
    a, b = (shown(plan_for(p, 3, size=(32, 32))) for p in (path, tmp_path / "clip.npy"))
    np.testing.assert_array_equal(a, b)


def test_a_clip_of_one_frame_can_be_looped(tmp_path):
    np.save(tmp_path / "one.npy", frames := random_frames(1))
    np.testing.assert_array_equal(shown(plan_for(tmp_path / "one.npy", 6, frames=4)), frames[[0] * 6])
