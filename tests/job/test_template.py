from fractions import Fraction

import pytest

from scope_batch.job import load_text, template
from scope_batch.job.template import Clip, job_template


def test_the_template_is_a_job() -> None:
    job = load_text(job_template(stem="cat"), name="j")
    assert (job.num_frames, job.height, job.width, job.output[0].path) == (96, 320, 576, "cat.mp4")
    assert (job.pipeline_id, job.seed.at(0), job.fps) == ("longlive", 42, 16)


def test_the_template_follows_the_defaults_of_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "DEFAULT_NOISE_SCALE", 0.55)
    monkeypatch.setattr(template, "SEED", 7)
    text = job_template(Clip("a.mp4", 480, 832, 77, Fraction(30)))
    assert "# noise_scale: 0.55 " in text and load_text(text, name="j").seed.at(0) == 7


def test_a_clip_gives_its_size_rate_and_length() -> None:
    job = load_text(job_template(Clip("a: b #1.mp4", 479, 853, 77, Fraction(30000, 1001))), name="j")
    assert job.input_path is not None
    assert job.input_path.name == "a: b #1.mp4"
    assert (job.height, job.width, job.num_frames, job.fps) == (480, 848, "input", Fraction(30000, 1001))


def test_notes_about_the_clip_are_in_the_template() -> None:
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


def test_the_clips_own_size_is_noted_beside_another_one() -> None:
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
