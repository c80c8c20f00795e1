"""Requests for videos as jobs, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.serve.uploads import UploadLimits, Uploads
from scope_batch.serve.videos import submission_of


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", UploadLimits())


def frames_of(uploads: Uploads, seconds: Any, **more: Any) -> Any:
    return submission_of({"prompt": "x", "seconds": seconds, **more}, uploads).job["num_frames"]


@pytest.mark.parametrize("seconds", [4, "4", "4.0", 4.0])
def test_seconds_are_a_number_or_a_decimal_text(uploads: Uploads, seconds: Any) -> None:
    assert frames_of(uploads, seconds) == 64


@pytest.mark.parametrize("fps", [30, "30", "30/1", 30.0])
def test_seconds_count_at_the_rate_of_the_job(uploads: Uploads, fps: Any) -> None:
    assert frames_of(uploads, 0.1 + 0.2, fps=fps) == 9


@pytest.mark.parametrize(
    "seconds", ["1e999999999", "1e-999999999", "3/2", "1_0", "-4", "0", "", " 4", "nan", True, [4], 1e300, 99 * "9"]
)  # fmt: skip
def test_a_length_that_is_no_plain_number_is_refused(uploads: Uploads, seconds: Any) -> None:
    with pytest.raises(JobError, match=r"seconds: .* is no length of a video"):
        frames_of(uploads, seconds)


@pytest.mark.parametrize("fps", ["1e999999999", "1e-999999999", "native", 1e300, 0, [1]])
def test_a_rate_that_is_none_is_left_to_the_check_of_the_job(uploads: Uploads, fps: Any) -> None:
    assert submission_of({"prompt": "x", "seconds": "2", "fps": fps}, uploads).job["fps"] == fps
