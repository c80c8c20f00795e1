from fractions import Fraction

import pytest

from scope_batch.job import load_text
from scope_batch.job.template import Clip, fitted_size, job_template


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
    ("size", "fitted"),
    [((480, 832), (480, 832)), ((2160, 3840), (1152, 2048)), ((40, 60), (64, 96)), ((20, 4000), (64, 2048))],
)
def test_sizes_are_fitted(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(*size) == fitted
