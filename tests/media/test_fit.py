import numpy as np
import pytest
from PIL import Image

from scope_batch.media.resize import fit_frame
from tests.media.conftest import random_frames

WIDE = np.zeros((40, 120, 3), np.uint8)
WIDE[:, 40:80] = 200


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_frame_of_the_right_size_is_untouched(fit):
    frame = random_frames(1)[0]
    assert fit_frame(frame, 48, 64, fit) is frame


def test_crop_keeps_the_middle_and_its_proportions():
    assert (fit_frame(WIDE, 20, 20, "crop")[:, 4:-4] == 200).all()


def test_pad_shows_everything_between_black_bars():
    fitted = fit_frame(WIDE, 120, 120, "pad")
    assert not fitted[:40].any() and not fitted[80:].any()
    np.testing.assert_array_equal(fitted[40:80], WIDE)


def test_stretch_fills_the_size():
    fitted = fit_frame(WIDE, 60, 60, "stretch")
    assert (fitted[:, 25:35] == 200).all() and not fitted[:, :15].any()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_shrinking_averages_instead_of_aliasing(fit):
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = fit_frame(stripes, 32, 32, fit)[4:-4, 4:-4].astype(int)
    assert np.abs(inner - 127).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (33, 77)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_any_size_is_resized_to_the_requested_one(size, fit):
    assert fit_frame(np.full((*size, 3), 90, np.uint8), 16, 32, fit).shape == (16, 32, 3)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_mask_is_cut_as_its_frame_is_and_keeps_its_values(fit):
    mask = np.zeros((60, 90), np.uint8)
    mask[20:50, 30:70] = 255
    frame = np.repeat(mask[..., None], 3, axis=2)
    fitted = fit_frame(mask, 32, 32, fit, Image.Resampling.NEAREST)
    assert fitted.shape == (32, 32) and set(np.unique(fitted)) == {0, 255}
    assert np.mean((fit_frame(frame, 32, 32, fit)[..., 0] > 127) == (fitted > 127)) > 0.97
