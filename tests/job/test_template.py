from fractions import Fraction

import pytest

from scope_batch.job import load_text
from scope_batch.job.template import Clip, job_template


def test_the_template_is_a_job() -> None:
    job = load_text(job_template(stem="cat"), name="j")
    assert (job.num_frames, job.height, job.width, job.output[0].path) == (96, 320, 576, "cat.mp4")


def test_a_clip_gives_its_size_rate_and_length() -> None:
    job = load_text(job_template(Clip("a: b #1.mp4", 479, 853, 77, Fraction(30000, 1001))), name="j")
    assert job.input_path is not None
    assert job.input_path.name == "a: b #1.mp4"
    assert (job.height, job.width, job.num_frames, job.fps) == (480, 848, "input", Fraction(30000, 1001))


def test_what_was_found_in_the_clip_stands_beside_it() -> None:
    text = job_template(Clip("hdr.mov", 480, 832, 77, Fraction(30), ("HLG, converted to SDR",)))
    assert "# HLG, converted to SDR\n" in text and load_text(text, name="j").num_frames == "input"


@pytest.mark.parametrize(
    ("clip", "size"),
    [((1920, 1080), (848, 480)), ((1080, 1920), (480, 848)), ((2160, 3840), (480, 848)), ((480, 854), (480, 848)),
     ((320, 576), (320, 576)), ((240, 320), (544, 736)), ((540, 960), (480, 848))],
)  # fmt: skip
def test_a_clip_gives_a_size_near_the_one_trained_on(clip: tuple[int, int], size: tuple[int, int]) -> None:
    text = job_template(Clip("phone.mp4", *clip, 77, Fraction(30)))
    job = load_text(text, name="j")
    assert (job.height, job.width) == size and f"{clip[1]}x{clip[0]}, 77 frames" in text


def test_the_clip_s_own_size_stands_beside_another_one() -> None:
    text = job_template(Clip("phone.mp4", 1920, 1080, 77, Fraction(30)))
    assert "# the clip's 1080x1920 at about the area that the model was trained on, 832x480; multiples of 16" in text


def test_a_rate_that_varies_is_written_with_the_reason() -> None:
    text = job_template(Clip("phone.mp4", 480, 832, 60, Fraction(30), mean_fps=Fraction(29)))
    assert "# The frame rate varies, 29 a second on average: frames are picked by time, 30 a second." in text
    job = load_text(text, name="j")
    assert (job.input_fps, job.fps) == (30, 30)


def test_the_output_is_not_named_like_the_clip() -> None:
    job = load_text(job_template(Clip("clips/phone.mp4", 480, 832, 77, Fraction(30)), stem="phone"), name="j")
    assert job.output[0].path == "phone-new.mp4"
