from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from scope_batch.review.sheet import CELL_WIDTH, FONT_SIZE, GAP, LABEL_HEIGHT, MARGIN, PROMPT_HEIGHT
from scope_batch.review.sweep_sheet import SheetCell, SheetPart, _wrapped, columns_for, middle_picture, sweep_sheet

HEIGHT = 100
LINE = HEIGHT + LABEL_HEIGHT + GAP


def cell(red: int, *labels: str) -> SheetCell:
    return SheetCell(labels or ("seed=1",), Image.new("RGB", (CELL_WIDTH, HEIGHT), (red, 0, 0)))


def colours(sheet: Image.Image, tops: list[int], columns: int) -> list[list[int]]:
    """Red of the middle of each cell."""
    pixels = np.asarray(sheet)
    lefts = [MARGIN + column * (CELL_WIDTH + GAP) + CELL_WIDTH // 2 for column in range(columns)]
    return [[int(pixels[top + HEIGHT // 2, left, 0]) for left in lefts] for top in tops]


def test_the_jobs_stand_row_by_row() -> None:
    sheet = sweep_sheet([SheetPart("job.yaml", [cell(10), cell(20), cell(30), cell(40)], 2)])
    assert sheet.size == (2 * MARGIN + 2 * CELL_WIDTH + GAP, 2 * MARGIN + 2 * LINE)
    assert colours(sheet, [MARGIN, MARGIN + LINE], 2) == [[10, 20], [30, 40]]


def test_each_of_several_sweeps_has_a_head() -> None:
    sheet = sweep_sheet([SheetPart("a.yaml", [cell(10)], 1), SheetPart("b.yaml", [cell(20)], 1)])
    tops = [MARGIN + PROMPT_HEIGHT, MARGIN + 2 * PROMPT_HEIGHT + LINE]
    assert colours(sheet, tops, 1) == [[10], [20]]


def test_every_value_has_its_line() -> None:
    sheet = sweep_sheet([SheetPart("job.yaml", [cell(10, "seed=1", "prompt=a cat")], 1)])
    assert sheet.height == 2 * MARGIN + LINE + LABEL_HEIGHT
    below = np.asarray(sheet)[MARGIN + HEIGHT :, :, 0]
    assert all((below[top : top + LABEL_HEIGHT] > 100).any() for top in (0, LABEL_HEIGHT))


def test_a_long_text_is_wrapped_and_cut() -> None:
    font = ImageFont.load_default(FONT_SIZE)
    lines = _wrapped("prompt=" + "a cat walking in the rain " * 9, font)
    assert len(lines) == 3 and lines[-1].endswith("…") and not lines[0].endswith("…")
    assert all(font.getlength(line) <= CELL_WIDTH for line in lines)


def test_a_job_without_a_picture_keeps_its_place() -> None:
    empty = SheetCell(("seed=1", "not rendered"), None)
    sheet = sweep_sheet([SheetPart("job.yaml", [cell(10, "a", "b"), empty, cell(30)], 3)])
    assert colours(sheet, [MARGIN], 3) == [[10, 48, 30]]


@pytest.mark.parametrize(("jobs", "last", "columns"), [(12, 4, 4), (12, 12, 6), (3, 1, 3), (8, 8, 8)])
def test_the_values_of_the_last_key_make_the_columns(jobs: int, last: int, columns: int) -> None:
    assert columns_for(jobs, last) == columns


def test_the_picture_is_the_middle_frame(tmp_path) -> None:
    frames = np.zeros((5, 32, 64, 3), np.uint8)
    frames[2] = 200
    np.save(tmp_path / "a.npy", frames)
    picture = middle_picture(tmp_path / "a.npy")
    assert picture.size == (CELL_WIDTH, CELL_WIDTH // 2) and (np.asarray(picture) == 200).all()
