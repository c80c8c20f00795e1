"""The figures grow with what they measure, stay flat where nothing changes, and tell a jump at a chunk's border."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFilter

from scope_batch.media.figures import FigureMeter, figures_of
from tests.golden.films import Film, moving_film

CHUNK = 12


def chunks_of(film: Film) -> list[Film]:
    return [film[first : first + CHUNK] for first in range(0, len(film), CHUNK)]


def textured_film(frames: int = 60) -> Film:
    """Noise that moves one pixel per frame."""
    still = np.random.default_rng(0).integers(60, 180, (48, 64, 3), dtype=np.uint8)
    return np.stack([np.roll(still, index, axis=1) for index in range(frames)])


def blurred(frame: Film, radius: float) -> Film:
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(radius)))


def test_a_steady_film_has_flat_curves() -> None:
    figures = figures_of(chunks_of(textured_film()))
    for name in ("red", "contrast", "sharpness", "motion"):
        values = [getattr(found, name) for found in figures]
        assert max(values) < 1.06 * min(values), name
    assert all(found.flicker == pytest.approx(1, abs=0.1) for found in figures[1:]) and figures[0].flicker is None


def test_growing_blur_and_colour_give_monotone_curves() -> None:
    film = textured_film()
    for index in range(len(film)):
        film[index] = blurred(film[index], index / 20)
        film[index, ..., 0] = np.minimum(film[index, ..., 0] + 1.5 * index, 255)
    figures = figures_of(chunks_of(film))
    assert all(before.sharpness > after.sharpness for before, after in pairwise(figures))
    assert all(before.contrast > after.contrast for before, after in pairwise(figures))
    assert all(before.red < after.red for before, after in pairwise(figures))


def test_a_jump_at_a_border_is_found_there_and_nowhere_else() -> None:
    film = moving_film(60)
    film[24:] = np.clip(film[24:].astype(int) + 20, 0, 255)
    flicker = [found.flicker for found in figures_of(chunks_of(film))[1:]]
    assert [value is not None and value > 4 for value in flicker] == [False, True, False, False]


def test_a_still_film_does_not_flicker() -> None:
    film = np.repeat(textured_film(1), 24, axis=0)
    film[12:, 0, 0] += 1
    assert figures_of(chunks_of(film))[1].flicker == pytest.approx(0, abs=0.1)


def test_the_figures_are_those_of_the_definition() -> None:
    film = np.zeros((2, 8, 8, 3), np.uint8)
    film[:, :, ::2] = (200, 100, 50)  # stripes of one pixel
    (found,) = figures_of([film])
    luma = (54 * 200 + 183 * 100 + 19 * 50) >> 8
    assert (found.red, found.green, found.blue) == (200, 100, 50)  # every 4th column
    assert found.sharpness == luma / 2 and found.motion == 0  # across, and nothing down


def test_a_chunk_without_frames_has_none_and_counts() -> None:
    meter = FigureMeter()
    assert meter.measure(textured_film(4)[:0]) is None
    found = meter.measure(textured_film(1))
    assert found is not None and found.chunk == 1 and found.motion is None
    later = meter.measure(textured_film(3))
    assert later is not None and later.flicker is not None
