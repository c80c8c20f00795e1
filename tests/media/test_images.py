from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.errors import JobError
from scope_batch.media.images import natural_key, read_image
from scope_batch.media.source import open_source
from tests.media.conftest import random_frames


def folder(path: Path, frames: np.ndarray, pattern: str = "f{}.png") -> Path:
    path.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(path / pattern.format(i))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(JobError) as caught, open_source(path):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_are_frames_in_natural_order(tmp_path):
    frames = random_frames(12)
    path = folder(tmp_path / "stills", frames)
    (path / "notes.txt").touch()
    (path / ".hidden.png").touch()
    with open_source(path) as source:
        assert (source.frames, source.height, source.width) == (12, 48, 64)
        for i in (11, 2, 10):
            np.testing.assert_array_equal(source.frame(i), frames[i])


def test_natural_order_is_total():
    assert sorted(["a10", "a2", "a02", "b", "1"], key=natural_key) == ["1", "a02", "a2", "a10", "b"]


def test_transparency_lies_on_white_and_palettes_are_resolved(tmp_path):
    Image.new("RGBA", (4, 4), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("P", (4, 4), 0).save(tmp_path / "palette.png", transparency=0)
    assert (read_image(tmp_path / "clear.png") == 255).all() and (read_image(tmp_path / "palette.png") == 255).all()


def test_orientation_is_applied_to_size_and_pixels(tmp_path):
    (tmp_path / "stills").mkdir()
    still = Image.fromarray(random_frames(1)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    still.save(tmp_path / "stills" / "a.png", exif=exif)
    with open_source(tmp_path / "stills") as source:
        assert (source.width, source.height) == (48, 64)
        np.testing.assert_array_equal(source.frame(0), np.rot90(np.asarray(still), -1))


def test_sixteen_bit_gray_keeps_its_high_byte(tmp_path):
    Image.fromarray(np.full((4, 4), 0x80FF, np.uint16)).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png") == 0x80).all()


def test_images_of_different_sizes_are_refused(tmp_path):
    path = folder(tmp_path / "stills", random_frames(3))
    Image.new("RGB", (32, 48)).save(path / "f7.png")
    assert refusal(path) == "stills/f7.png: is 32x48, not 64x48 as f0.png; all must be alike"


def test_folders_and_files_that_hold_no_still_image_are_refused(tmp_path):
    assert "holds no images" in refusal(folder(tmp_path / "none", np.empty((0,))))
    fake = folder(tmp_path / "fake", np.empty((0,)))
    (fake / "a.png").write_text("#!/bin/sh")
    assert refusal(fake) == "a.png: is not a readable PNG, JPEG or WebP image"
    moving = folder(tmp_path / "moving", np.empty((0,)))
    pages = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    pages[0].save(moving / "a.webp", save_all=True, append_images=pages[1:])
    assert "is animated" in refusal(moving)


def test_an_image_that_was_cut_short_is_refused(tmp_path):
    path = folder(tmp_path / "stills", random_frames(1)) / "f0.png"
    path.write_bytes(path.read_bytes()[:3000])
    with open_source(path.parent) as source, pytest.raises(JobError, match=r"f0.png: is damaged or cut short"):
        source.frame(0)


@pytest.mark.parametrize("limit", [100, 100_000])
def test_a_decompression_bomb_is_refused_from_its_header(tmp_path, monkeypatch, limit):
    path = folder(tmp_path / "stills", np.zeros((1, 400, 400, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert "f0.png: has too many pixels" in refusal(path)


def test_one_image_is_a_clip_of_one_frame(tmp_path):
    Image.fromarray(frame := random_frames(1)[0]).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        assert (source.frames, source.height, source.width) == (1, 48, 64)
        np.testing.assert_array_equal(source.frame(0), frame)
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
        with pytest.raises(JobError, match=r"a.png: has changed: it was 64x48"):
            source.frame(0)
