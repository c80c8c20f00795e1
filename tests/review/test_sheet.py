from __future__ import annotations

from fractions import Fraction

import numpy as np
from PIL import Image

from scope_batch.golden.streams import FrameStream
from scope_batch.plan.view.film_map import FilmMap
from scope_batch.review.sheet import BORDER, CELL_WIDTH, CUT, GAP, LABEL_HEIGHT, MARGIN, PROMPT_HEIGHT, contact_sheet
from tests.golden.films import HEIGHT, WIDTH, moving_film, stream

MAP = FilmMap(Fraction(16), (9, 12, 3), ((0, "a cat"), (9, "a dog")), cuts=(21,))
CELL_HEIGHT = CELL_WIDTH * HEIGHT // WIDTH
LINE = CELL_HEIGHT + LABEL_HEIGHT + GAP


def film(frames: int = 24, film_map: FilmMap | None = MAP) -> FrameStream:
    opened = stream(moving_film(frames), 16)
    opened.map, opened.count = film_map, frames
    return opened


def marks(sheet: Image.Image, colour: tuple[int, int, int]) -> set[tuple[int, int]]:
    """Column and row of the cells that a mark of this colour stands before; rows count from the top of the sheet."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    cells = {((x + 10) // (CELL_WIDTH + GAP), (y - MARGIN) // LINE) for x, y in zip(columns, rows, strict=True)}
    return {(int(column), int(row)) for column, row in cells}


def test_a_row_begins_with_every_prompt() -> None:
    sheet = contact_sheet(film(), every=3)  # frames 0, 3, 6 | 9 to 21
    assert sheet.height == 2 * MARGIN + 2 * PROMPT_HEIGHT + 2 * LINE
    shown = np.asarray(sheet)[MARGIN + PROMPT_HEIGHT :, MARGIN:][:CELL_HEIGHT, :CELL_WIDTH]
    first = Image.fromarray(moving_film(1)[0]).resize((CELL_WIDTH, CELL_HEIGHT), Image.Resampling.BOX)
    assert np.array_equal(shown, np.asarray(first))


def test_borders_and_cuts_are_marked() -> None:
    sheet = contact_sheet(film(film_map=FilmMap(Fraction(16), (9, 12, 3), ((0, ""),), cuts=(21,))), every=1)
    assert marks(sheet, BORDER) == {(0, 0), (3, 1)}  # frames 0 and 9
    assert marks(sheet, CUT) == {(3, 3)}  # frame 21


def test_a_border_between_two_shown_frames_is_marked_at_the_later_one() -> None:
    sheet = contact_sheet(film(film_map=FilmMap(Fraction(16), (9, 15), ((0, ""),))), every=4)
    assert marks(sheet, BORDER) == {(0, 0), (3, 0)}  # frames 0 and 12


def test_a_long_film_is_shown_by_at_most_48_frames() -> None:
    sheet = contact_sheet(film(200, None))
    assert sheet.height == 2 * MARGIN + 7 * LINE  # every 5th frame: 40


def test_a_film_without_a_job_has_no_marks() -> None:
    sheet = contact_sheet(film(12, None), columns=4)
    assert marks(sheet, BORDER) == marks(sheet, CUT) == set()
    assert sheet.size == (2 * MARGIN + 4 * (CELL_WIDTH + GAP) - GAP, 2 * MARGIN + 3 * LINE)
