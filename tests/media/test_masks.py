"""Tests of warnings about masks that generate everything or nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.core.timeline import Placement
from scope_batch.errors import JobError
from scope_batch.media.masks import mask_warnings
from tests.media.conftest import write_lossless
from tests.media.plans import SIZE, chunk_of, place, plan_of, saved

OBJECT = (slice(4, 12), slice(4, 12))


def warnings_of(*placements: Placement) -> list[str]:
    return mask_warnings(plan_of(chunk_of(9), placements=placements))


def with_object(value: int, around: int = 0) -> np.ndarray:
    """uint8 [H, W]: a square on a ground."""
    mask = np.full((SIZE, SIZE), around, np.uint8)
    mask[OBJECT] = value
    return mask


def picture(path: Path, mask: np.ndarray) -> Placement:
    Image.fromarray(mask).save(path)
    return place(path, "masks", fill="hold")


def test_a_mask_that_shows_both_needs_no_words(tmp_path):
    assert warnings_of(picture(tmp_path / "m.png", with_object(255))) == []
    half = np.zeros((1, 1, 9, SIZE, SIZE), np.float32)
    half[:, :, 5:] = 1
    assert warnings_of(place(saved(tmp_path / "m.npy", half), "masks")) == []


@pytest.mark.parametrize("value", [1, 20, 127])
def test_a_segmentation_of_small_numbers_is_named_with_the_remedy(tmp_path, value):
    (warning,) = warnings_of(picture(tmp_path / "m.png", with_object(value)))
    assert f"m.png is no brighter than {value} of 255, and up to 127 is kept: nothing is generated" in warning
    assert f"write a mask of 0 and {value} as 0 and 255, or as an array of floats of 0 and 1" in warning


def test_so_is_a_folder_and_a_video_of_them(tmp_path):
    (tmp_path / "f").mkdir()
    for n in range(9):
        Image.fromarray(with_object(1)).save(tmp_path / f"f/{n:02}.png")
    video = np.repeat(np.repeat(with_object(1)[None, ..., None], 9, 0), 3, 3)
    for path in (tmp_path / "f", write_lossless(tmp_path / "v.mkv", video)):
        (warning,) = warnings_of(place(path, "masks"))
        assert "is no brighter than 1 of 255" in warning


def test_a_palette_mask_counts_by_its_colours(tmp_path):
    """Label 1 of the usual palettes is a dark red."""
    image = Image.fromarray(with_object(1), "P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(tmp_path / "m.png")
    (warning,) = warnings_of(place(tmp_path / "m.png", "masks", fill="hold"))
    assert "its colours count by their brightness, not as labels; paint white what is to be generated" in warning


def test_floats_that_stay_small_are_named(tmp_path):
    mask = np.repeat(with_object(1)[None, None, None] / np.float32(255), 9, 2).astype(np.float32)
    (warning,) = warnings_of(place(saved(tmp_path / "m.npy", mask), "masks"))
    assert "m.npy reaches no more than 0.00392, and only above 0.5 is generated: nothing is" in warning


@pytest.mark.parametrize(
    ("level", "message"),
    [(0, "is black throughout: all is kept and nothing generated"), (255, "is white throughout: all is generated")],
)
def test_a_mask_of_one_value_is_a_warning_with_advice(tmp_path, level, message):
    (warning,) = warnings_of(picture(tmp_path / "m.png", with_object(level, level)))
    assert message in warning and "invert" in warning


def test_masks_that_together_show_both_are_fine(tmp_path):
    white = place(picture(tmp_path / "w.png", with_object(255, 255)).source.path, "masks", 0, 4, "hold")
    black = place(picture(tmp_path / "b.png", with_object(0)).source.path, "masks", 4, 9, "hold")
    assert warnings_of(white, black) == []
    (warning,) = warnings_of(black, place(white.source.path.with_name("b.png"), "masks", 6, 9, "hold"))
    assert "b.png is black throughout" in warning


def test_only_frames_that_are_shown_count(tmp_path):
    late = np.zeros((12, SIZE, SIZE, 3), np.uint8)
    late[9:] = 255
    (warning,) = warnings_of(place(saved(tmp_path / "m.npy", late), "masks"))
    assert "black throughout" in warning


def test_a_mask_that_cannot_be_read_names_its_field(tmp_path):
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(JobError, match=r"^job.yaml:3: vace_masks: m.png"):
        warnings_of(place(tmp_path / "m.png", "masks"))
