from __future__ import annotations

import numpy as np
import pytest

from scope_batch.errors import JobError
from scope_batch.golden.metrics import FrameDifference, measure
from scope_batch.golden.thresholds import Thresholds, thresholds_of


def differing(levels: int, pixels: int) -> FrameDifference:
    """A frame of 100 pixels of which some differ."""
    frame = np.zeros((10, 10, 3), np.uint8)
    other = frame.copy()
    other.reshape(100, 3)[:pixels] = levels
    return measure(frame, other)


@pytest.mark.parametrize(
    ("thresholds", "levels", "pixels", "judgement"),
    [
        (Thresholds(), 1, 1, "differs"),
        (Thresholds(fail=2 / 255), 2, 100, "within"),
        (Thresholds(fail=0.0078431), 2, 100, "within"),
        (Thresholds(fail=2 / 255), 3, 1, "differs"),
        (Thresholds(fail_percent=5), 200, 5, "within"),
        (Thresholds(fail_percent=5), 1, 6, "differs"),
        (Thresholds(fail=2 / 255, fail_percent=5), 3, 5, "within"),
        (Thresholds(hard_fail=10 / 255), 10, 100, "within"),
        (Thresholds(fail_percent=50, hard_fail=10 / 255), 11, 1, "differs"),
        (Thresholds(min_psnr=40), 1, 100, "within"),
        (Thresholds(min_psnr=50), 1, 100, "differs"),
        (Thresholds(min_ssim=0.5), 1, 100, "within"),
        (Thresholds(min_ssim=0.99), 100, 50, "differs"),
        (Thresholds(fail=10 / 255, warn=1 / 255), 2, 1, "warned"),
        (Thresholds(fail=10 / 255, warn=1 / 255, warn_percent=2), 2, 2, "within"),
        (Thresholds(), 0, 0, "equal"),
    ],
)
def test_thresholds_mean_what_they_mean_to_idiff(
    thresholds: Thresholds, levels: int, pixels: int, judgement: str
) -> None:
    assert thresholds.judge(differing(levels, pixels))[0] == judgement


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"fial": 1}, "unknown threshold 'fial'"),
        ({"fail": 2}, "2 is not a number in 0..1"),
        ({"min_ssim": True}, "True"),
    ],
)
def test_thresholds_of_a_file_are_checked(values: dict[str, object], fault: str) -> None:
    with pytest.raises(JobError, match=fault):
        thresholds_of(values, "thresholds.yaml")
