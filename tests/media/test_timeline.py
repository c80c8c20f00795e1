from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import JobError
from scope_batch.media import video
from scope_batch.media.probe import probe_clip
from scope_batch.media.timeline import Timeline, open_timeline
from tests.media.conftest import HEIGHT, WIDTH, ffmpeg, random_frames


def opened(path: Path, num_frames: int | None = None, **options) -> Timeline:
    options = {"height": HEIGHT, "width": WIDTH, "fit": "crop", "input_length": "loop", **options}
    return open_timeline(path, num_frames=num_frames, **options)


def chunked(timeline: Timeline, *lengths: int) -> np.ndarray:
    starts = np.cumsum([0, *lengths])
    return np.concatenate([timeline.window(int(a), n) for a, n in zip(starts, lengths, strict=False)])


@pytest.mark.parametrize("name", ["clip.mkv", "clip.npy", "clip.mp4"])
def test_frame_i_is_frame_i_of_the_input_bit_for_bit(lossless, tmp_path, name):
    encode = ("-c:v", "libx264rgb", "-qp", "0", "-bf", "3") if name == "clip.mp4" else ()
    path, frames = lossless(37, name if name != "clip.npy" else "x.mkv", 25, *encode)
    if name == "clip.npy":
        np.save(path := tmp_path / name, frames)
    with opened(path) as timeline:
        assert timeline.frames == 37
        np.testing.assert_array_equal(chunked(timeline, 13, 12, 12), frames)


def test_windows_in_order_come_from_one_decoder(lossless, monkeypatch):
    path, frames = lossless(37)
    started = []
    monkeypatch.setattr(video, "Child", lambda *a, **k: started.append(1) or Child(*a, **k))
    from scope_batch.media.ffmpeg import Child

    with opened(path) as timeline:
        np.testing.assert_array_equal(chunked(timeline, 13, 12, 12), frames)
    assert len(started) == 1


def test_windows_in_any_order_hold_the_same_frames(lossless):
    path, frames = lossless(20)
    with opened(path) as timeline:
        for first, count in [(8, 5), (0, 4), (3, 3), (19, 1), (0, 20), (12, 2)]:
            np.testing.assert_array_equal(timeline.window(first, count), frames[first : first + count])


def test_a_window_is_the_callers_own(lossless):
    path, frames = lossless(5)
    with opened(path, input_length="hold") as timeline:
        timeline.window(0, 8)[:] = 0
        np.testing.assert_array_equal(timeline.window(4, 1)[0], frames[4])


def test_loop_and_hold_fill_delivered_frames_and_the_last_one_is_held_beyond(lossless):
    path, frames = lossless(5)
    with opened(path, 12, input_length="loop") as looped:
        np.testing.assert_array_equal(chunked(looped, 5, 8), frames[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 1]])
    with opened(path, 8, input_length="hold") as held:
        np.testing.assert_array_equal(held.window(2, 8), frames[[2, 3, 4, 4, 4, 4, 4, 4]])


def test_beyond_the_last_delivered_frame_no_further_frame_of_the_input_is_shown(lossless):
    path, frames = lossless(20)
    with opened(path, 10, input_length="error") as timeline:
        np.testing.assert_array_equal(timeline.window(8, 5), frames[[8, 9, 9, 9, 9]])


def test_an_input_that_is_too_short_is_refused_when_asked_to(lossless):
    path, _ = lossless(5)
    with pytest.raises(JobError, match=r"clip.mkv: has 5 frames, the job needs 6; `input_length: loop`"):
        opened(path, 6, input_length="error")
    opened(path, 5, input_length="error").close()


@pytest.mark.parametrize(("fps", "indices"), [(10, [0, 2, 5, 7, 10, 12, 15, 17]), (50, np.arange(40) // 2)])
def test_resampling_takes_frames_by_time(lossless, fps, indices):
    path, frames = lossless(20)
    assert probe_clip(path, Fraction(fps)).frames == len(indices) and probe_clip(path, Fraction(fps)).fps == fps
    with opened(path, input_fps=Fraction(fps)) as timeline:
        np.testing.assert_array_equal(timeline.window(0, timeline.frames), frames[indices])


def test_trimming_takes_the_frames_in_between(lossless):
    path, frames = lossless(20)
    assert probe_clip(path, None, 0.2, 0.4).frames == 5
    with opened(path, 7, start_s=0.2, end_s=0.4) as timeline:
        np.testing.assert_array_equal(timeline.window(0, 7), frames[[5, 6, 7, 8, 9, 5, 6]])


def test_a_variable_rate_is_refused_or_sampled_by_time(lossless, tmp_path):
    path, frames = lossless(12, "even.mkv", 25)
    uneven = tmp_path / "uneven.mkv"
    ffmpeg("-i", path, "-vf", "setpts='if(lt(N,6),N,6+(N-6)*3)/25/TB'", "-fps_mode", "passthrough", "-c:v", "ffv1",
           "-pix_fmt", "bgr0", uneven)  # fmt: skip
    with pytest.raises(JobError, match=r"uneven.mkv: its frame rate varies; `input_fps: N`"):
        opened(uneven)
    with opened(uneven, input_fps=Fraction(25)) as timeline:
        expected = [0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8]
        np.testing.assert_array_equal(timeline.window(0, 15), frames[expected])


def test_every_kind_of_input_is_fitted_alike(lossless, tmp_path):
    path, frames = lossless(3)
    np.save(tmp_path / "clip.npy", frames)
    with opened(path, height=32, width=32) as a, opened(tmp_path / "clip.npy", height=32, width=32) as b:
        np.testing.assert_array_equal(a.window(0, 3), b.window(0, 3))


def test_a_still_of_one_frame_can_be_looped(tmp_path):
    np.save(tmp_path / "one.npy", frames := random_frames(1))
    with opened(tmp_path / "one.npy", 4) as timeline:
        np.testing.assert_array_equal(timeline.window(0, 6), frames[[0] * 6])
