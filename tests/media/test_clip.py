import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.core.plan import ClipFacts
from scope_batch.core.timing import Timing
from scope_batch.errors import JobError, MissingInputError
from scope_batch.media import clip, frame_list
from scope_batch.media.ffmpeg import file_url, run_quiet
from scope_batch.media.open import open_source
from scope_batch.media.validate import probe_clip, probe_whole_clip
from tests.media.conftest import ffmpeg, random_frames, write_lossless


def decode(path: Path) -> np.ndarray:
    with open_source(path) as source:
        return np.stack([source.frame(i) for i in range(source.frames)])


def cut(path: Path, share: float) -> Path:
    os.truncate(path, int(path.stat().st_size * share))
    return path


@pytest.mark.parametrize(
    ("name", "output"),
    [("c.mp4", ("-c:v", "libx264", "-bf", "3")), ("c.mov", ("-c:v", "prores_ks")), ("c.mkv", ("-c:v", "libx265")),
     ("c.webm", ("-c:v", "libvpx-vp9")), ("vp8.webm", ("-c:v", "libvpx")),
     ("c.gif", ()), ("c.nut", ("-c:v", "rawvideo")), ("c.m4v", ("-c:v", "libx264")), ("c.3gp", ("-c:v", "libx264")),
     ("c.avi", ("-c:v", "libx264", "-bf", "2")), ("old.avi", ("-c:v", "mpeg4")), ("c.ts", ("-c:v", "libx264")),
     ("c.m2ts", ("-c:v", "libx264")), ("c.mts", ("-c:v", "libx264")), ("c.mpg", ("-c:v", "mpeg2video")),
     ("c.mpeg", ("-c:v", "mpeg1video"))],
)  # fmt: skip
def test_every_container_tells_its_frames_size_and_rate(drawn_clip, name, output):
    path = drawn_clip(name, *output)
    assert probe_clip(path) == ClipFacts(64, 48, 20, Fraction(25), has_audio=False)
    assert decode(path).shape == (20, 48, 64, 3)


def test_sound_is_seen_and_a_cover_picture_is_not_the_video(drawn_clip, tmp_path):
    cover = drawn_clip("cover.png", "-frames:v", "1", source="color=red:s=128x128")
    plain = drawn_clip("plain.mp4")
    both = tmp_path / "both.mp4"
    ffmpeg("-i", cover, "-i", plain, "-f", "lavfi", "-i", "sine=d=0.8", "-map", "0", "-map", "1", "-map", "2",
           "-disposition:v:0", "attached_pic", "-c:v", "copy", both)  # fmt: skip
    assert probe_clip(both) == ClipFacts(64, 48, 20, Fraction(25), has_audio=True)
    np.testing.assert_array_equal(decode(both), decode(plain))


def test_a_rotated_clip_is_seen_upright(lossless, tmp_path):
    path, _ = lossless(6, "c.mp4", 25, "-c:v", "libx264rgb", "-qp", "0")
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", path, "-c", "copy", turned)
    assert (probe_clip(turned).width, probe_clip(turned).height) == (48, 64)
    np.testing.assert_array_equal(decode(turned), np.rot90(decode(path), axes=(1, 2)))


def test_wide_pixels_become_square(drawn_clip):
    facts = probe_clip(drawn_clip("wide.mp4", "-vf", "setsar=4/3"))
    assert (facts.width, facts.height) == (85, 48)


def test_frames_before_an_edit_lists_start_are_not_counted(lossless, tmp_path):
    path, frames = lossless(20, "c.mp4", 25, "-c:v", "libx264rgb", "-qp", "0", "-bf", "2")
    trimmed = tmp_path / "trimmed.mp4"
    ffmpeg("-ss", "0.28", "-i", path, "-c", "copy", trimmed)
    assert probe_clip(trimmed).frames == 13
    np.testing.assert_array_equal(decode(trimmed), frames[7:])


def test_leading_pictures_that_cannot_be_decoded_are_not_counted(drawn_clip, tmp_path):
    settings = "log-level=0:keyint=8:min-keyint=8:open-gop=1:bframes=3:scenecut=0"
    path = drawn_clip("open.mp4", "-c:v", "libx265", "-x265-params", settings)
    packets = run_quiet(["-i", file_url(path), "-c", "copy", "-f", "framecrc", "-"]).stdout.splitlines()
    keys = [i for i, line in enumerate(p for p in packets if not p.startswith("#")) if "F=" not in line]
    tail = tmp_path / "tail.mkv"
    ffmpeg("-i", path, "-c", "copy", "-bsf:v", f"noise=drop=lt(n\\,{keys[1]})", tail)
    assert probe_clip(tail).frames == len(decode(tail)) < 20 - keys[1]


@pytest.mark.parametrize("codecs", [clip.HIDDEN_FRAME_CODECS, frozenset()])
def test_packets_that_are_never_shown_are_not_counted(tmp_path, monkeypatch, codecs):
    monkeypatch.setattr(clip, "HIDDEN_FRAME_CODECS", codecs)
    path, log = tmp_path / "hidden.webm", tmp_path / "log"
    encode = ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-b:v", "100k", "-passlogfile", log]
    for number in (1, 2):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", *encode, "-pass", number, path)
    packets = run_quiet(["-i", file_url(path), "-c", "copy", "-f", "framecrc", "-"]).stdout.splitlines()
    assert sum(not line.startswith("#") for line in packets) > 50
    assert probe_clip(path).frames == len(decode(path)) == 50


def test_transparency_becomes_white(tmp_path):
    frames = random_frames(3, channels=4)
    frames[..., 3] = [[0], [255], [128]] * 16
    path = write_lossless(tmp_path / "alpha.mkv", frames)
    straight, alpha = frames[..., :3].astype(float), frames[..., 3:] / 255
    expected = straight * alpha + 255 * (1 - alpha)
    assert np.abs(decode(path) - expected).max() <= 0.51


def test_a_transparent_gif_becomes_white(tmp_path):
    stills = [Image.new("RGBA", (64, 48), (200, 0, 0, 0)) for _ in range(3)]
    for i, still in enumerate(stills):
        still.putpixel((i, 0), (0, 0, 255, 255))
    stills[0].save(tmp_path / "clear.gif", save_all=True, append_images=stills[1:], duration=100, disposal=2)
    frames = decode(tmp_path / "clear.gif")
    assert frames.shape == (3, 48, 64, 3) and (frames[:, 1:] == 255).all() and frames[1, 0, 1].tolist() == [0, 0, 255]


@pytest.mark.parametrize(("size", "tagged", "matrix"), [("64x48", "", "bt601"), ("1280x720", "", "bt709"),
                                                        ("64x48", "bt709", "bt709")])  # fmt: skip
def test_colours_follow_the_tag_or_else_the_size(drawn_clip, size, tagged, matrix):
    convert = f"scale=out_color_matrix={matrix}:out_range=tv,setparams=colorspace={tagged or 'unknown'}:range=tv"
    path = drawn_clip(
        "red.mkv", "-vf", f"{convert},format=yuv444p", "-c:v", "ffv1", source=f"color=0xC81E1E:s={size}:d=0.04"
    )
    assert np.abs(decode(path)[0, 5, 5].astype(int) - [200, 30, 30]).max() <= 2


def test_ten_bit_pixels_become_eight(drawn_clip):
    path = drawn_clip("deep.mkv", "-pix_fmt", "yuv444p10le", "-c:v", "ffv1", source="color=gray:s=64x48:d=0.2")
    assert np.abs(decode(path).astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    ("name", "output"),
    [("c.mp4", ()), ("fast.mp4", ("-movflags", "+faststart")), ("c.mkv", ()), ("c.webm", ()), ("c.gif", ()),
     ("c.nut", ("-c:v", "rawvideo"))],
)  # fmt: skip
def test_a_clip_that_was_cut_short_is_refused_before_the_render(drawn_clip, name, output):
    with pytest.raises(JobError, match=rf"^{name}: .*(cut short|cannot be read)"):
        probe_clip(cut(drawn_clip(name, *output), 0.66))


def test_a_frame_that_the_decoder_repairs_with_a_complaint_is_refused(drawn_clip):
    options = ("-c:v", "ffv1", "-level", "3", "-slicecrc", "1", "-g", "1")
    path = drawn_clip("torn.mkv", *options, source="testsrc=s=64x48:r=25:d=2.4")
    data = bytearray(path.read_bytes())
    at = int(len(data) * 0.9)
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert probe_clip(path).frames == 60
    with pytest.raises(JobError, match=r"torn.mkv: frame \d+ of 60 cannot be decoded: \S"):
        decode(path)


def test_damage_in_an_h264_stream_is_not_concealed(drawn_clip):
    path = drawn_clip("torn.mp4", "-c:v", "libx264", "-qp", "1", "-g", "60", source="testsrc2=s=320x240:r=25:d=2.4")
    data = bytearray(path.read_bytes())
    at = int(len(data) * 0.9)
    data[at : at + 400] = bytes(reversed(range(200))) * 2
    path.write_bytes(data)
    # Threads that were decoding frames before the damage may be stopped with it.
    with pytest.raises(JobError, match=r"torn.mp4: frame \d+ of 60 cannot be decoded"):
        decode(path)


def test_a_playlist_is_no_video_whatever_its_name(tmp_path, drawn_clip):
    drawn_clip("real.mp4")
    for name, text in [
        ("a.mp4", "#EXTM3U\n#EXTINF:1,\nreal.mp4\n"),
        ("b.mp4", "ffconcat version 1.0\nfile real.mp4\n"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(JobError, match=rf"^{name}: cannot be read as one of .mp4"):
            probe_clip(tmp_path / name)


def test_a_file_that_is_not_a_video_is_refused_in_one_line(tmp_path, drawn_clip):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello" * 100)
    (tmp_path / "clip.xyz").touch()
    sound = drawn_clip("sound.mp4", source="anullsrc=d=0.2")
    for path, message in [("empty.mp4", "is empty"), ("text.mp4", "cannot be read"), ("clip.xyz", "unknown kind"),
                       (sound.name, "has no video stream")]:  # fmt: skip
        with pytest.raises(JobError, match=rf"^{path}: {message}[^\n]*$"):
            probe_clip(tmp_path / path)
    with pytest.raises(MissingInputError, match=r"none.mp4: no such file"):
        probe_clip(tmp_path / "none.mp4")


def test_names_that_look_like_options_or_patterns_are_plain_names(drawn_clip, tmp_path):
    path = tmp_path / "-i %03d [x]: 'y'.mp4"
    drawn_clip("c.mp4").rename(path)
    assert probe_clip(path).frames == 20 and len(decode(path)) == 20


def test_more_frames_than_were_counted_are_an_error_too(drawn_clip):
    with open_source(drawn_clip("c.mp4")) as source:
        source.timing = Timing.even(10)
        source.frame(8)
        with pytest.raises(JobError, match=r"c.mp4: has more frames than the 10"):
            source.frame(9)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.heic", "convert it to .jpg or .png"), ("a.tiff", "convert it to .png"), ("a.wmv", "convert it to .mp4"),
     ("a.npz", "save the frames as .npy")],
)  # fmt: skip
def test_an_unsupported_type_is_refused_with_the_conversion(tmp_path, name, message):
    (tmp_path / name).touch()
    with pytest.raises(JobError, match=rf"^{name}: {message}.*; allowed are .mp4 "):
        probe_clip(tmp_path / name)


def test_a_clip_of_a_declared_size_beyond_all_measure_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("P", (16000, 16000)).save(tmp_path / "bomb.gif")
    monkeypatch.setattr(clip, "decoded_frames", None)
    with pytest.raises(JobError, match=r"^bomb.gif: frames of 16000x16000 are too large"):
        probe_clip(tmp_path / "bomb.gif")


def test_a_clip_with_gaps_is_read_at_the_rate_of_its_other_frames(tmp_path):
    path = tmp_path / "phone.mp4"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc=s=64x48:r=30:d=2", "-vf", "select='not(eq(n,7)+eq(n,30))'",
        "-fps_mode", "passthrough", path,
    )  # fmt: skip
    facts = probe_whole_clip(path)
    assert (facts.frames, facts.fps, facts.timing.fps, facts.timing.frames) == (60, 30, None, 58)


def test_a_line_of_ffmpeg_that_another_of_its_threads_broke_loses_no_frame(lossless, monkeypatch):
    """ffmpeg's threads share stderr, and a message may stand in the middle of a frame's description."""
    path, _ = lossless(6)
    whole, readings = frame_list.stderr_lines, []

    def broken_once(args):
        readings.append(args)
        for number, line in enumerate(whole(args)):
            intruder = "Application provided invalid data\n[Parsed_showinfo_0 @ 0x1] [info]  " if number % 2 else ""
            text = line.replace(" color_trc", f"{intruder} color_trc") if len(readings) == 1 else line
            yield from text.split("\n")

    monkeypatch.setattr(frame_list, "stderr_lines", broken_once)
    frames = frame_list.decoded_frames(path, clip.input_args(path))
    assert (len(frames.ticks), len(readings)) == (6, 2)
