from __future__ import annotations

import numpy as np
import pytest

from scope_batch.processors.contract_check import check_processor, moving_frames
from scope_batch.processors.upscale import UPSCALE


@pytest.mark.parametrize(
    ("factor", "size"), [(2, (96, 128)), (1.5, (72, 96)), (2.25, (108, 144)), (1.03, (50, 66)), (8, (384, 512))]
)
def test_both_sides_grow_by_the_factor_to_an_even_number_of_pixels(factor: float, size: tuple[int, int]) -> None:
    assert UPSCALE.build({"factor": factor}).size_out(48, 64) == size


def test_an_enlarged_film_shows_the_same() -> None:
    frames = np.repeat(np.repeat(moving_frames(3, 12, 16), 4, axis=1), 4, axis=2)
    output = check_processor(UPSCALE, frames)
    means = output.reshape(3, 12, 8, 16, 8, 3).mean(axis=(2, 4))
    assert np.abs(means - frames[:, ::4, ::4]).max() < 8


def test_one_colour_stays() -> None:
    frames = np.full((2, 16, 16, 3), (10, 200, 90), np.uint8)
    assert (UPSCALE.build({"factor": 3}).open(16, 16).process(frames) == (10, 200, 90)).all()
