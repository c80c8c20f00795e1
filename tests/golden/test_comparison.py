from __future__ import annotations

import json
from fractions import Fraction

import numpy as np

from scope_batch.golden.alignment import Shift
from scope_batch.golden.comparison import Comparison, compare
from scope_batch.golden.thresholds import Thresholds
from scope_batch.plan.view.film_map import FilmMap
from tests.golden.films import Film, moving_film, one_level, stream

ANY_DIFFERENCE = Thresholds()


def compared(a: Film, b: Film, thresholds: Thresholds = ANY_DIFFERENCE, fps: tuple[int, int] = (16, 16)) -> Comparison:
    return compare(stream(a, fps[0]), stream(b, fps[1]), thresholds)


def test_equal_films() -> None:
    found = compared(moving_film(), moving_film())
    assert (found.judgement, found.first, found.pairs, len(found.results)) == ("equal", None, [], 24)


def test_the_first_and_the_worst_difference_are_kept() -> None:
    film = moving_film()
    film[7], film[11] = one_level(film[7]), film[11] // 2
    found = compared(moving_film(), film)
    assert found.first is not None and found.worst is not None
    assert (found.judgement, found.first.result.frame, found.worst.result.frame) == ("differs", 7, 11)
    assert [pair.result.frame for pair in found.pairs] == [7, 11]
    assert np.array_equal(found.pairs[1].b, film[11])


def test_the_first_failure_may_come_after_the_first_difference() -> None:
    film = moving_film()
    film[7], film[11] = one_level(film[7]), film[11] // 2
    found = compared(moving_film(), film, Thresholds(fail=1 / 255))
    assert found.first is not None and found.failed is not None
    assert (found.first.result.frame, found.failed.result.frame) == (7, 11)


def test_a_dropped_frame_is_named() -> None:
    found = compared(moving_film(), np.delete(moving_film(), 9, axis=0))
    assert found.shift == Shift(9, -1) and found.problems == ["A has 24 frames, B has 23"]
    assert "B lacks frame 9 of A" in str(found.shift)


def test_a_repeated_frame_is_named() -> None:
    film = moving_film()
    found = compared(film, np.insert(film, 10, film[9], axis=0))
    assert found.shift == Shift(10, 1)


def test_a_film_that_begins_later_is_named() -> None:
    assert compared(moving_film(), moving_film()[3:]).shift == Shift(0, -3)


def test_exchanged_frames_are_named() -> None:
    film = moving_film()
    film[[5, 14]] = film[[14, 5]]
    found = compared(moving_film(), film)
    assert (found.shift, found.swaps) == (None, [(5, 14)])


def test_another_picture_is_neither_shifted_nor_exchanged() -> None:
    found = compared(moving_film(), 255 - moving_film())
    assert (found.judgement, found.shift, found.swaps) == ("differs", None, [])


def test_a_still_film_beside_one_that_fades_is_not_shifted() -> None:
    """The last frames of A are like the first ones of B, but so are the first ones of A."""
    still = np.repeat(moving_film()[:1], 24, axis=0)
    fading = np.concatenate([one_level(still[0])[None], still[1:6], still[6:] // 2])
    found = compared(still, fading)
    assert (found.judgement, found.shift) == ("differs", None)


def test_another_rate_is_a_difference_unless_ignored() -> None:
    found = compared(moving_film(), moving_film(), fps=(16, 24))
    assert found.judgement == "differs" and found.problems == ["A has 16 frames per second, B has 24"]
    assert compare(stream(moving_film(), 16), stream(moving_film(), 24), Thresholds(), ignore_rate=True).problems == []


def test_another_size_ends_the_comparison() -> None:
    found = compared(moving_film(), moving_film(height=32))
    assert found.judgement == "differs" and found.problems == ["frame 0 is 64x48 in A and 64x32 in B"]


def test_the_place_names_chunk_and_prompt() -> None:
    film = moving_film()
    film[12] = one_level(film[12])
    a = stream(moving_film())
    a.map = FilmMap(Fraction(16), (9, 12, 3), ((0, "a cat"), (9, "a dog")))
    found = compare(a, stream(film), Thresholds())
    assert found.place(12) == 'frame 12 (chunk 1, its frame 3, under "a dog")'
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))["first_difference"]
    assert (told["frame"], told["chunk"], told["prompt"]) == (12, 1, "a dog")
