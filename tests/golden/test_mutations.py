"""Each planted fault is caught and named at the right frame; what may differ passes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from scope_batch.golden.alignment import Shift
from scope_batch.golden.folder import DEFAULT_THRESHOLDS
from scope_batch.golden.record import Record, record
from scope_batch.golden.verdict import Tier, Verdict, judge
from tests.golden.films import Film, moving_film, one_level, stream

KEPT = (0, 12, 23)
"""Frames that the golden keeps whole."""


def recorded(film: Film, fps: int = 16) -> Record:
    return record(stream(film, fps), KEPT)


def judged(film: Film, tier: Tier, fps: int = 16) -> Verdict:
    return judge(recorded(moving_film()), recorded(film, fps), tier, DEFAULT_THRESHOLDS[tier])


def frame_of(verdict: Verdict) -> int | None:
    return None if verdict.finding is None else verdict.finding.frame


def noisy(film: Film, frame: int) -> Film:
    film[frame] = one_level(film[frame])
    return film


def swapped(film: Film, one: int, other: int) -> Film:
    film[[one, other]] = film[[other, one]]
    return film


def wrong_matrix(film: Film) -> Film:
    """Encoded with the matrix of BT.601, decoded with that of BT.709."""

    def matrix(red: float, blue: float) -> np.ndarray:
        green = 1 - red - blue
        luma = np.array([red, green, blue])
        blue_row = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        red_row = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        return np.stack([luma, blue_row, red_row])

    turned = np.linalg.inv(matrix(0.2126, 0.0722)) @ matrix(0.299, 0.114)
    return np.clip(np.rint(film @ turned.T), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("tier", ["exact", "other_machine", "encoded"])
def test_the_same_film_passes(tier: Tier) -> None:
    verdict = judged(moving_film(), tier)
    assert verdict.passed and verdict.equal


@pytest.mark.parametrize("tier", ["exact", "other_machine"])
@pytest.mark.parametrize("frame", [0, 7, 12, 23])
def test_one_level_in_one_frame_is_named(tier: Tier, frame: int) -> None:
    verdict = judged(noisy(moving_film(), frame), tier)
    assert not verdict.passed and frame_of(verdict) == frame


@pytest.mark.parametrize("tier", ["exact", "other_machine", "encoded"])
def test_two_exchanged_frames_are_named(tier: Tier) -> None:
    verdict = judged(swapped(moving_film(), 6, 17), tier)
    assert frame_of(verdict) == 6 and verdict.swaps == [(6, 17)]


@pytest.mark.parametrize("tier", ["exact", "other_machine"])
def test_a_dropped_frame_is_named(tier: Tier) -> None:
    verdict = judged(np.delete(moving_film(), 8, axis=0), tier)
    assert frame_of(verdict) == 8 and verdict.shift == Shift(8, -1)
    assert verdict.problems == ["23 frames, the golden has 24"]


@pytest.mark.parametrize("tier", ["exact", "other_machine", "encoded"])
def test_another_rate_is_named(tier: Tier) -> None:
    verdict = judged(moving_film(), tier, fps=24)
    assert not verdict.passed and verdict.problems == ["24 frames per second, the golden has 16"]


def test_another_colour_matrix_is_caught_in_an_encoded_film() -> None:
    film = moving_film()
    film[..., 0] //= 4
    film[..., 2] = 255 - film[..., 2]  # colours, for gray is the same under every matrix
    golden, other = recorded(film), recorded(wrong_matrix(film))
    assert frame_of(judge(golden, other, "encoded", DEFAULT_THRESHOLDS["encoded"])) == 0


def test_other_rounding_passes_on_another_machine_alone() -> None:
    film = moving_film()
    film[5, ::8, ::8, 1] += 1
    assert judged(film, "other_machine").passed
    assert frame_of(judged(film, "exact")) == 5


def test_an_encoded_film_passes_its_tier_alone() -> None:
    noise = np.random.default_rng(0).integers(-3, 4, moving_film().shape)
    film = np.clip(moving_film() + noise, 0, 255).astype(np.uint8)
    assert judged(film, "encoded").passed
    assert not judged(film, "other_machine").passed


def test_a_film_that_goes_on_longer_fails() -> None:
    verdict = judged(np.concatenate([moving_film(), moving_film(1)]), "exact")
    assert not verdict.passed and verdict.problems == ["25 frames, the golden has 24"]


def test_another_size_fails_without_further_figures() -> None:
    verdict = judged(moving_film(height=32), "exact")
    assert not verdict.passed and verdict.finding is None and "64x32" in verdict.problems[0]


def test_a_failure_is_shown_whole_where_the_frame_is_kept_and_as_a_thumbnail_elsewhere() -> None:
    assert [pair.a.shape for pair in judged(noisy(moving_film(), 12), "exact").pairs] == [(48, 64, 3)]
    both = noisy(noisy(moving_film(), 7), 12)
    assert [pair.a.shape for pair in judged(both, "exact").pairs] == [(12, 16, 3), (48, 64, 3)]


def test_the_rate_is_compared_exactly() -> None:
    golden = recorded(moving_film())
    frames = replace(golden.frames, fps=Fraction(16000, 1001))
    assert not judge(golden, replace(golden, frames=frames), "exact", DEFAULT_THRESHOLDS["exact"]).passed
