from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.golden.metrics import luma, measure, ssim
from scope_batch.media.ffmpeg import run_quiet
from tests.golden.films import moving_film, one_level


def test_equal_frames_have_no_difference() -> None:
    difference = measure(*moving_film(1), *moving_film(1))
    assert (difference.largest, difference.psnr_db, difference.ssim) == (0, math.inf, 1)
    assert difference.equal and difference.percent_over(0) == 0


def test_one_level_everywhere_is_48_decibels() -> None:
    frame = moving_film(1)[0]
    difference = measure(frame, one_level(frame))
    assert difference.largest == 1 and difference.percent_over(0) == 100 and difference.percent_over(1) == 0
    assert difference.psnr_db == pytest.approx(20 * math.log10(255))


def test_a_pixel_counts_once_by_its_most_different_channel() -> None:
    frame = np.zeros((10, 10, 3), np.uint8)
    other = frame.copy()
    other[0, 0] = (3, 7, 0)
    difference = measure(frame, other)
    assert difference.largest == 7
    assert [difference.percent_over(levels) for levels in (0, 6.9, 7)] == [1, 1, 0]


@pytest.mark.parametrize("size", [(64, 48), (70, 50), (16, 16)])
def test_ssim_of_bright_pictures_is_that_of_ffmpeg(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    gray = moving_film(1, height, width)[0, ..., 0]
    noise = np.random.default_rng(0).integers(-20, 20, gray.shape)
    noisy = np.clip(gray + noise, 0, 255).astype(np.uint8)
    for name, picture in (("a", gray), ("b", noisy)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    files = ["-i", str(tmp_path / "a.png"), "-i", str(tmp_path / "b.png")]
    told = run_quiet(["-nostdin", *files, "-lavfi", "ssim", "-f", "null", "-"]).stderr
    found = re.search(r"SSIM Y:([\d.]+)", told)
    assert found is not None
    assert ssim(gray.astype(np.float32), noisy.astype(np.float32)) == pytest.approx(float(found[1]), abs=1e-4)


def test_ssim_of_a_picture_smaller_than_a_window() -> None:
    frame = moving_film(1, 5, 3)[0]
    assert ssim(luma(frame), luma(frame)) == pytest.approx(1)


def test_ssim_of_one_dark_window_is_that_of_its_definition() -> None:
    a, b = np.random.default_rng(0).integers(0, 9, (2, 8, 8)).astype(np.float32)
    (variance_a, covariance), (_, variance_b) = np.cov(a.ravel(), b.ravel())
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * a.mean() * b.mean() + c1) * (2 * covariance + c2)
    expected /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (variance_a + variance_b + c2)
    assert ssim(a, b) == pytest.approx(expected, rel=1e-6)
