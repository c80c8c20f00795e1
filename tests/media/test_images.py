from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.image_series import natural_key
from scope_batch.media import images
from scope_batch.media.images import image_facts, read_image, read_still
from scope_batch.media.open import open_source
from scope_batch.media.resize import fit_frame
from tests.media import profiles
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


def test_transparency_becomes_white_and_palettes_are_resolved(tmp_path):
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
    assert refusal(path) == "stills/f7.png: is 32x48, not 64x48 as f0.png; all must have one size"


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


PROFILES = {
    "Adobe RGB (1998)": (profiles.ADOBE_RGB, 563 / 256),
    "Display P3": (profiles.DISPLAY_P3, profiles.SRGB_GAMMA),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_profile_is_converted_to_srgb_with_a_note(tmp_path, name, suffix):
    path, profile = tmp_path / f"photo{suffix}", PROFILES[name]
    options = {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0}
    Image.new("RGB", (16, 16), (200, 90, 60)).save(path, icc_profile=profiles.profile(name, *profile), **options)
    assert np.abs(read_image(path) - profiles.managed((200, 90, 60), *profile)).max() <= 2
    assert image_facts(path).notes == (f"{name} colours, converted to sRGB",)


def test_the_profile_of_srgb_changes_nothing(tmp_path):
    frame, profile = random_frames(1)[0], profiles.profile("sRGB", profiles.SRGB, profiles.SRGB_GAMMA)
    Image.fromarray(frame).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), frame)
    assert image_facts(tmp_path / "a.png").notes == ()


def test_a_profile_counts_under_transparency_and_in_palettes_too(tmp_path):
    profile = profiles.profile("Adobe RGB (1998)", *PROFILES["Adobe RGB (1998)"])
    half = Image.new("RGBA", (4, 4), (200, 90, 60, 128))
    half.save(tmp_path / "half.png", icc_profile=profile)
    Image.new("RGB", (4, 4), (200, 90, 60)).quantize(4).save(tmp_path / "palette.png", icc_profile=profile)
    managed = np.array((228, 90, 56))
    assert np.abs(read_image(tmp_path / "half.png") - (managed * 128 + 255 * 127) / 255).max() <= 1
    assert np.abs(read_image(tmp_path / "palette.png") - managed).max() <= 1


def test_a_damaged_profile_and_adobe_rgb_without_one_are_warnings(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "damaged.png", icc_profile=b"nonsense" * 40)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    Image.new("RGB", (4, 4)).save(tmp_path / "camera.jpg", exif=exif)
    assert image_facts(tmp_path / "damaged.png").warnings == (
        "its colour profile is damaged: its colours are read as sRGB",
    )
    assert "Adobe RGB, but it carries no profile" in image_facts(tmp_path / "camera.jpg").warnings[0]
    assert (read_image(tmp_path / "damaged.png") == 0).all()


def test_the_first_picture_of_a_multi_picture_jpeg_is_read(tmp_path):
    photo = Image.new("RGB", (128, 96), (200, 30, 30))
    photo.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (64, 48), "blue")])
    for frame in (read_still(tmp_path / "photo.jpg"), open_source(tmp_path / "photo.jpg").frame(0)):
        assert frame.shape == (96, 128, 3) and np.abs(frame.astype(int) - (200, 30, 30)).max() <= 2
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.jpg").rename(tmp_path / "photos" / "1.jpg")
    with open_source(tmp_path / "photos") as source:
        assert (source.frames, source.width) == (1, 128)


@pytest.mark.parametrize(
    ("suffix", "mode", "turned"),
    [(".jpg", "RGB", False), (".jpg", "RGB", True), (".png", "P", False), (".png", "RGBA", True)],
)
def test_a_much_larger_picture_is_read_at_a_reduced_size(tmp_path, suffix, mode, turned):
    ramp = np.broadcast_to(np.linspace(0, 255, 1600).astype(np.uint8)[None, :, None], (1200, 1600, 3))
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    Image.fromarray(ramp).convert(mode).save(tmp_path / f"large{suffix}", exif=exif)
    near = (64, 48) if turned else (48, 64)
    reduced, whole = read_image(tmp_path / f"large{suffix}", near), read_image(tmp_path / f"large{suffix}")
    assert 3 * near[0] <= reduced.shape[0] < whole.shape[0] / 2 and 3 * near[1] <= reduced.shape[1]
    fitted = fit_frame(reduced, *near, "crop").astype(int) - fit_frame(whole, *near, "crop")
    assert np.abs(fitted).max() <= 2


def test_a_large_jpeg_is_never_decoded_in_full(tmp_path, monkeypatch):
    Image.new("RGB", (1600, 1200)).save(tmp_path / "large.jpg")
    sizes = []
    monkeypatch.setattr(images, "_reduced", lambda image, _: sizes.append(image.size) or image)
    read_image(tmp_path / "large.jpg", (48, 64))
    assert sizes == [(200, 150)]


def test_the_declared_size_is_compared_before_anything_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (9000, 9000)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"IDAT") + 8])
    assert refusal(path) == "bomb.png: 9000x9000 pixels are too many, at most 67,108,864 are read"


def test_a_folder_of_two_series_with_a_gap_is_a_warning(tmp_path):
    path = folder(tmp_path / "stills", random_frames(4), "depth_{:03}.png")
    for number in (0, 1, 3):
        Image.new("RGB", (64, 48)).save(path / f"rgb_{number:03}.png")
    with open_source(path) as source:
        assert source.frames == 7 and len(source.warnings) == 2
        assert "2 series, depth_*.png (4), rgb_*.png (3)" in source.warnings[0]
        assert source.warnings[1] == "rgb_*.png (3): number 2 missing"


@pytest.mark.parametrize("pattern", ["depth_*.png", "depth_%03d.png", "depth_%d.png"])
def test_a_pattern_is_one_series_of_a_folder(tmp_path, pattern):
    path = folder(tmp_path / "stills", frames := random_frames(4), "depth_{:03}.png")
    Image.new("RGB", (32, 32)).save(path / "rgb_000.png")
    with open_source(path / pattern) as source:
        assert (source.frames, source.warnings) == (4, ())
        np.testing.assert_array_equal(source.frame(3), frames[3])


def test_a_pattern_that_names_nothing_is_missing(tmp_path):
    with pytest.raises(MissingInputError, match=r"no image matches"), open_source(tmp_path / "f%03d.png"):
        pass


def test_a_doubt_of_the_reader_is_a_warning_of_ours(tmp_path):
    """Pillow would print it into the progress."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 8)).save(tmp_path / "a.jpg", exif=exif)
    data = (tmp_path / "a.jpg").read_bytes()
    at = data.index(b"Exif\0\0") + 6 + 8
    (tmp_path / "a.jpg").write_bytes(data[:at] + b"\xff" + data[at + 1 :])  # many more tags than there are
    assert "its header is damaged: " in image_facts(tmp_path / "a.jpg").warnings[0]
    assert read_still(tmp_path / "a.jpg").shape == (16, 8, 3)
