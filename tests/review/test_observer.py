from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from scope_batch.golden.alignment import reduced
from scope_batch.media.figures import figures_of
from scope_batch.plan.view.film_map import FilmMap
from scope_batch.review.observer import Observer, visible_after
from tests.golden.films import Film, moving_film

MAP = FilmMap(Fraction(16), (9, 12, 12, 3), ((0, "a cat"), (21, "a dog")))


def watched(film: Film, film_map: FilmMap | None) -> Observer:
    observer = Observer(film_map)
    assert np.array_equal(np.stack(list(observer.watching(iter(film)))), film)
    return observer


def test_the_figures_are_those_of_the_chunks() -> None:
    film = moving_film(36)
    chunks = [film[:9], film[9:21], film[21:33], film[33:]]
    assert watched(film, MAP).figures == figures_of(chunks)


def test_a_film_without_a_map_is_measured_by_12_frames() -> None:
    assert [found.chunk for found in watched(moving_film(30), None).figures] == [0, 1, 2]


def test_a_chunk_that_delivers_nothing_keeps_the_numbers_right() -> None:
    film_map = FilmMap(Fraction(16), (0, 9, 12), ((0, "a cat"),))
    assert [found.chunk for found in watched(moving_film(21), film_map).figures] == [1, 2]


@pytest.mark.parametrize("late", [0, 3, 11])
def test_a_change_is_seen_when_the_picture_moves_further_than_before(late: int) -> None:
    film = moving_film(60)
    film[24 + late :] = 255 - film[24 + late :]
    assert visible_after([reduced(frame) for frame in film], 24) == late


def test_without_a_change_nothing_is_seen() -> None:
    assert visible_after([reduced(frame) for frame in moving_film(24)], 12) is None
    assert visible_after([reduced(frame) for frame in moving_film(24)], 0) is None


def test_every_change_of_the_prompt_is_told() -> None:
    film = moving_film(36)
    film[23:] = 255 - film[23:]
    (switch,) = watched(film, MAP).switches()
    assert (switch.frame, switch.prompt, switch.late) == (21, "a dog", 2)
