from pathlib import Path

import pytest

from scope_batch.errors import MissingInputError
from scope_batch.files.image_series import folder_files, is_pattern, pattern_files, series_warnings
from scope_batch.job import check_inputs, parse_job
from scope_batch.render.fingerprint import input_digests


def numbered(template: str, *numbers: int) -> list[str]:
    return [template.format(number) for number in numbers]


@pytest.mark.parametrize(
    "names",
    [numbered("f{}.png", *range(12)), numbered("f{:03}.png", *range(0, 100, 10)), ["a.png", "b.png"], ["one.png"],
     [f"2024-01-01 12.{minute:02}.{second:02}.png" for minute in range(3) for second in range(minute, 60, 7 + minute)],
     ["cat.png"]],
    ids=["numbers", "every tenth", "names", "one", "times of day", "one name"],
)  # fmt: skip
def test_a_complete_series_has_no_warnings(names: list[str]) -> None:
    assert series_warnings(names) == []


def test_two_series_are_named() -> None:
    (warning,) = series_warnings([*numbered("depth_{:03}.png", *range(20)), *numbered("rgb_{:03}.png", *range(20))])
    assert warning == "holds 2 series, depth_*.png (20), rgb_*.png (20), read as one: name one of them by a pattern"


def test_series_that_count_anew_under_an_earlier_number_are_two() -> None:
    (warning,) = series_warnings([f"cam{camera}_{number:04}.png" for camera in (1, 2) for number in range(5)])
    assert "holds 2 series, cam1_*.png (5), cam2_*.png (5)" in warning


def test_two_formats_of_the_same_frames_are_two_series() -> None:
    assert (
        "IMG_*.jpg (3), IMG_*.png (3)"
        in series_warnings([*numbered("IMG_{}.jpg", 1, 2, 3), *numbered("IMG_{}.png", 1, 2, 3)])[0]
    )


def test_a_stranger_among_numbered_pictures_is_named() -> None:
    assert "cover.png, f*.png (9)" in series_warnings(["cover.png", *numbered("f{}.png", *range(9))])[0]


@pytest.mark.parametrize(
    ("numbers", "warning"),
    [((0, 1, 2, 4, 5), "f*.png (5): number 3 missing"), ((0, 10, 20, 40), "f*.png (4): number 30 missing"),
     ((1, 2, 30), "f*.png (3): numbers 3, 4, 5, 6 and 23 more missing")],
)  # fmt: skip
def test_gaps_are_named(numbers: tuple[int, ...], warning: str) -> None:
    assert series_warnings(numbered("f{}.png", *numbers)) == [warning]


def test_a_gap_of_a_billion_takes_no_time() -> None:
    assert "numbers 3, 4, 5, 6 and" in series_warnings(numbered("f{}.png", 1, 2, 10**9))[0]


def test_patterns_name_the_pictures_of_one_series(tmp_path: Path) -> None:
    for name in ("depth_2.png", "depth_10.png", "rgb_2.png", "depth_2.txt", "x00001.png", "x00002.png", "x1.png"):
        (tmp_path / name).touch()
    assert [path.name for path in pattern_files(tmp_path / "depth_*.png")] == ["depth_2.png", "depth_10.png"]
    assert [path.name for path in pattern_files(tmp_path / "x%05d.png")] == ["x00001.png", "x00002.png"]
    assert [path.name for path in pattern_files(tmp_path / "x%d.png")] == ["x00001.png", "x1.png", "x00002.png"]
    assert pattern_files(tmp_path / "none" / "*.png") == []


def test_the_name_of_an_existing_file_is_not_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "100%d*.png").touch()
    assert not is_pattern(tmp_path / "100%d*.png") and is_pattern(tmp_path / "%d.png")
    assert [path.name for path in folder_files(tmp_path)] == ["100%d*.png"]


def test_a_job_names_its_pictures_by_a_pattern(tmp_path: Path) -> None:
    job = parse_job({"prompt": "a", "num_frames": 12, "input_path": str(tmp_path / "f%03d.png")})
    with pytest.raises(MissingInputError, match=r"input_path: no such file: .*f%03d.png"):
        check_inputs(job)
    (tmp_path / "f001.png").write_bytes(b"one")
    check_inputs(job)
    before = input_digests(job)["input_path"]
    (tmp_path / "g001.png").write_bytes(b"another series")
    assert input_digests(job)["input_path"] == before
    (tmp_path / "f002.png").write_bytes(b"two")
    assert input_digests(job)["input_path"] != before
