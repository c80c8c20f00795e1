"""Requests for videos as jobs, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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


def reference(uploads: Uploads, tmp_path: Path, kind: str, **options: Any) -> dict[str, Any]:
    handle = f"file-{32 * '0'}"
    Image.new("RGB", (64, 64)).save(tmp_path / "uploads" / f"{handle}.bin", kind, **options)
    return submission_of({"prompt": "x", "input_reference": handle}, uploads).job


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_still_picture_is_the_first_frame(uploads: Uploads, tmp_path: Path, kind: str) -> None:
    specs = reference(uploads, tmp_path, kind)["chunk_specs"]
    assert specs == [{"chunk": 0, "first_frame_image": f"reference.{kind.lower()}"}]


def test_the_first_picture_of_a_phone_is_a_still_picture(uploads: Uploads, tmp_path: Path) -> None:
    job = reference(uploads, tmp_path, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64), "red")])
    assert job["chunk_specs"][0]["first_frame_image"] == "reference.jpeg"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animated_picture_is_no_first_frame(uploads: Uploads, tmp_path: Path, kind: str) -> None:
    with pytest.raises(JobError, match="input_reference: "):
        reference(uploads, tmp_path, kind, save_all=True, append_images=[Image.new("RGB", (64, 64), "red")])


def test_no_other_format_of_a_picture_is_looked_into(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile._open", never)
    with pytest.raises(JobError, match="input_reference: "):
        reference(uploads, tmp_path, "TIFF")
