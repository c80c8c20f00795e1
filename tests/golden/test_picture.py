from __future__ import annotations

import numpy as np

from scope_batch.golden.comparison import compare
from scope_batch.golden.picture import MARGIN, TEXT_HEIGHT, difference_map, side_by_side
from scope_batch.golden.thresholds import Thresholds
from tests.golden.films import moving_film, one_level, stream


def test_the_map_is_white_where_the_difference_is_largest() -> None:
    frame = moving_film(1)[0]
    other = frame.copy()
    other[3, 4, 0] += 8
    other[5, 6, 1] += 4
    brightened = difference_map(frame, other)
    assert (brightened[3, 4, 2], brightened[5, 6, 0], int(brightened.astype(int).sum())) == (255, 128, 3 * 383)


def test_a_row_holds_both_frames_and_their_difference() -> None:
    film = moving_film(2)
    found = compare(stream(film), stream([film[0], one_level(film[1])]), Thresholds())
    sheet = np.asarray(side_by_side(found.pairs, ("a.npy", "b.npy"), ["frame 1"]))
    top, factor = MARGIN + 3 * TEXT_HEIGHT, 4  # 64 pixels wide: enlarged
    shown = sheet[top : top + 48 * factor : factor, MARGIN : MARGIN + 64 * factor : factor]
    assert np.array_equal(shown, film[1])
