"""Animated pictures as clips."""

import numpy as np
import pytest
from PIL import Image

from scope_batch.errors import JobError
from scope_batch.media import image_files
from scope_batch.media.open import open_source
from scope_batch.media.validate import probe_clip
from tests.media.conftest import ffmpeg, random_frames, write_lossless
from tests.media.recipes import numbered_frames, numbers_in


def animated(path, frames, duration=40, **options):
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=others, duration=duration, **options)
    return path


LOSSLESS = [("a.webp", {"lossless": True}), ("a.png", {}), ("a.apng", {"format": "PNG"})]


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
def test_every_frame_comes_in_any_order(tmp_path, name, options):
    path = animated(tmp_path / name, frames := random_frames(7), **options)
    facts = probe_clip(path)
    assert (facts.frames, facts.width, facts.height, facts.fps) == (7, 64, 48, 25)
    with open_source(path) as source:
        for index in (6, 0, 3, 4, 1):
            np.testing.assert_array_equal(source.frame(index), frames[index])


def test_an_animation_of_ffmpeg_is_read_too(drawn_clip):
    path = drawn_clip("c.webp", "-c:v", "libwebp_anim", "-lossless", "1")
    assert (probe_clip(path).frames, probe_clip(path).fps) == (20, 25)


def test_frames_that_stand_longer_make_a_varying_rate(tmp_path):
    path = animated(tmp_path / "a.webp", numbered_frames(4), duration=[40, 400, 40, 40], lossless=True)
    with pytest.raises(JobError, match=r"a.webp: its frame rate varies; `input_fps: N`"):
        probe_clip(path)
    with open_source(path) as source:
        assert [tick // 1000 for tick in source.timing.ticks] == [0, 40, 440, 480] and numbers_in(source) == [
            0,
            1,
            2,
            3,
        ]


def test_parts_that_change_lie_on_what_is_there_and_on_white(tmp_path):
    """Browsers keep what a frame does not paint."""
    frames = np.zeros((3, 48, 64, 4), np.uint8)
    for index in range(3):
        frames[index:, 10 * index : 10 * index + 10, :10] = (200, 30, 60, 255)
    with open_source(animated(tmp_path / "a.png", frames)) as source:
        last = source.frame(2)
    assert (last[:30, :10] == (200, 30, 60)).all() and (last[30:] == 255).all() and (last[:, 10:] == 255).all()


def test_an_animation_with_alpha_is_shown_on_white(tmp_path):
    frames = random_frames(4, channels=4)
    frames[..., 3] = [[0], [255]] * 24
    encode = ("-c:v", "libwebp_anim", "-lossless", "1", "-pix_fmt", "bgra")
    with open_source(write_lossless(tmp_path / "a.webp", frames, 25, *encode)) as source:
        frame = source.frame(3)
    assert (frame[::2] == 255).all()
    np.testing.assert_array_equal(frame[1::2], frames[3, 1::2, :, :3])


def test_the_default_picture_of_an_apng_is_no_frame(tmp_path):
    path = animated(tmp_path / "a.png", numbered_frames(5), default_image=True)
    with open_source(path) as source:
        assert numbers_in(source) == [1, 2, 3, 4]


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
def test_an_animation_that_was_cut_short_is_refused(tmp_path, name, options):
    path = animated(tmp_path / name, random_frames(7), **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(JobError, match=rf"^{name}: (is damaged or cut short|is not a readable|cannot be read)"):
        probe_clip(path)


def test_an_animated_gif_and_an_animated_webp_of_it_are_alike(tmp_path, drawn_clip):
    gif = drawn_clip("c.gif")
    ffmpeg("-i", gif, "-c:v", "libwebp_anim", "-lossless", "1", tmp_path / "c.webp")
    with open_source(gif) as a, open_source(tmp_path / "c.webp") as b:
        assert a.timing.fps == b.timing.fps == 25
        np.testing.assert_array_equal(a.frame(11), b.frame(11))


def test_an_animation_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = animated(tmp_path / "a.webp", random_frames(7), lossless=True)
    monkeypatch.setattr(image_files, "MAX_PIXELS", 7 * 48 * 64 - 1)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(JobError, match=r"^a.webp: 7 frames of 64x48 are too many; convert it to .mp4"):
        probe_clip(path)
