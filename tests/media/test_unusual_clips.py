"""Clips with the oddities of cameras, recorders and editors: every frame is the right one, also from the middle on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import JobError
from scope_batch.media.open import open_source
from scope_batch.media.validate import probe_clip
from tests.media.conftest import ffmpeg, write_lossless
from tests.media.recipes import BT601, BT709, X264, in_yuv, numbered_frames, numbers_in, numbers_of
from tests.media.test_video_input import plan_for, shown

FRAMES = 20
MIDDLE = 7
Recipe = Callable[[Path, Path], Path]


def plain(folder: Path) -> Path:
    return write_lossless(folder / "plain.mkv", numbered_frames(FRAMES), 16, *in_yuv(BT709), *X264)


def remade(name: str, *output: str, before: tuple[str, ...] = ()) -> Recipe:
    def make(clip: Path, folder: Path) -> Path:
        ffmpeg(*before, "-i", clip, *output, folder / name)
        return folder / name

    return make


def from_frames(name: str, height: int, width: int, *output: str) -> Recipe:
    return lambda _, folder: write_lossless(folder / name, numbered_frames(FRAMES, 0, height, width), 16, *output)


def with_sound(name: str, *before: str) -> Recipe:
    """The sound is 3 s long, the picture 1.25 s."""
    sound = ("-f", "lavfi", "-i", "sine=d=3", "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac")
    return remade(name, *sound, before=before)


GAPS = ("-vf", r"setpts='if(lt(N,6),N,if(lt(N,12),N*2+20,N*3+60))/16/TB'", "-fps_mode", "passthrough")
MAIN10 = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p10le,setparams=colorspace=bt709:color_trc=bt709"
SECOND = ("-f", "lavfi", "-i", "testsrc=s=32x32:r=16:d=1", "-map", "0:v", "-map", "1:v", "-c:v:0", "copy")
COVER = ("-f", "lavfi", "-i", "color=red:s=128x128:d=0.04")

RIGHT: dict[str, Recipe] = {
    "rate that varies, with gaps": remade("gaps.mkv", *GAPS, *X264),
    "rate that varies, AVI": remade("gaps.avi", *GAPS, *X264),
    "4:1:1": remade("411.avi", "-pix_fmt", "yuv411p", "-c:v", "ffv1"),
    "odd size": from_frames("odd.webm", 47, 63, *in_yuv(BT601), "-c:v", "libvpx-vp9", "-lossless", "1"),
    "size that is cropped in the stream": from_frames("crop.mp4", 44, 62, *in_yuv(BT709), *X264),
    "start at 5 s, Matroska": remade("late.mkv", "-c", "copy", "-output_ts_offset", "5"),
    "start at 5 s, transport stream": remade("late.ts", "-c", "copy", "-output_ts_offset", "5"),
    "HEVC Main 10": from_frames("main10.mp4", 48, 64, "-vf", MAIN10, "-c:v", "libx265", "-x265-params", "log-level=0"),
    "no presentation times": remade("untimed.avi", "-c:v", "libx264", "-bf", "2", "-qp", "0"),
    "two video streams": remade("two.mkv", *SECOND),
    "sound longer than picture": with_sound("long.mp4"),
    "picture later than sound": with_sound("later.mp4", "-itsoffset", "0.7"),
    "fragments": remade("frag.mp4", "-c", "copy", "-movflags", "frag_keyframe+empty_moov+default_base_moof"),
    "recorded live, no duration": remade("live.webm", "-c:v", "libvpx", "-crf", "4", "-b:v", "4M", "-live", "1"),
    "full range": remade("full.mp4", "-c:v", "libx264", "-pix_fmt", "yuvj420p", "-qp", "0"),
    "16-bit grey": from_frames("grey.mkv", 48, 64, "-pix_fmt", "gray16le", "-c:v", "ffv1"),
    "ProRes": remade("prores.mov", "-c:v", "prores_ks", "-profile:v", "3", "-pix_fmt", "yuv422p10le"),
    "AV1": remade("av1.mp4", "-c:v", "libsvtav1", "-preset", "12", "-crf", "1"),
    "rotated": remade("turned.mov", "-c", "copy", before=("-display_rotation", "90")),
}


@pytest.mark.parametrize("recipe", RIGHT.values(), ids=RIGHT)
def test_every_frame_is_the_right_one(made, tmp_path, recipe):
    path = recipe(made(plain), tmp_path)
    with open_source(path) as source:
        assert numbers_in(source) == list(range(FRAMES))
    with open_source(path) as source:
        assert numbers_in(source, first=MIDDLE) == list(range(MIDDLE, FRAMES))


def test_the_cover_picture_of_a_clip_is_no_frame(made, tmp_path):
    streams = ("-map", "0", "-map", "1", "-c:v:0", "mjpeg", "-c:v:1", "copy", "-disposition:v:0", "attached_pic")
    ffmpeg(*COVER, "-i", made(plain), *streams, tmp_path / "cover.mp4")
    with open_source(tmp_path / "cover.mp4") as source:
        assert numbers_in(source) == list(range(FRAMES)) and source.notes == ()


def test_an_edit_list_that_starts_between_key_frames_counts_from_its_start(made, tmp_path):
    ffmpeg("-i", made(plain), "-c:v", "libx264", "-qp", "0", "-bf", "2", "-g", "8", tmp_path / "whole.mp4")
    ffmpeg("-ss", "0.375", "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "edited.mp4")
    with open_source(tmp_path / "edited.mp4") as source:
        assert numbers_in(source) == list(range(6, FRAMES))


def test_a_transport_stream_whose_beginning_is_lost_starts_at_its_first_key_frame(made, tmp_path):
    ffmpeg("-i", made(plain), "-c:v", "libx264", "-qp", "0", "-g", "6", "-bf", "2", tmp_path / "whole.ts")
    packets = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(packets[188 * 30 :])
    with open_source(tmp_path / "cut.ts") as source:
        assert numbers_in(source) == list(range(FRAMES - source.frames, FRAMES)) and source.frames in (2, 8, 14)


def test_frames_whose_times_go_back_at_a_joint_are_counted_as_they_come(made, tmp_path):
    """Two recordings joined with an overlap of two frames."""
    encode = ("-c:v", "libx264", "-qp", "0", "-bf", "0")
    for name, offset in (("a.ts", "0"), ("b.ts", "1.125")):
        ffmpeg("-i", made(plain), *encode, "-output_ts_offset", offset, tmp_path / name)
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with open_source(both) as source:
        assert numbers_in(source) == [*range(FRAMES), *range(FRAMES)]
        assert numbers_of([source.frame(index) for index in (20, 3, 25)]) == [0, 3, 5]


def test_a_rate_with_gaps_is_refused_as_it_is_and_sampled_by_time(made, tmp_path):
    path = RIGHT["rate that varies, with gaps"](made(plain), tmp_path)
    with pytest.raises(JobError, match=r"gaps.mkv: its frame rate varies; `input_fps: N`"):
        probe_clip(path)
    frames = shown(plan_for(path, 13, fps=4))  # frame N of 6..11 is shown at (2 N + 20) / 16 s
    assert numbers_of(list(frames)) == [0, 4, 5, 5, 5, 5, 5, 5, 6, 8, 10, 11, 11]


def test_interlaced_video_is_read_with_a_note(made, tmp_path):
    path = remade("dv.avi", "-vf", "scale=720:480,setsar=8/9", "-r", "30000/1001", "-pix_fmt", "yuv411p", "-c:v",
                  "dvvideo", "-frames:v", "3")(made(plain), tmp_path)  # fmt: skip
    with open_source(path) as source:
        assert (source.width, source.height, numbers_in(source)) == (640, 480, [0, 0, 1])
        assert source.notes[0].startswith("is interlaced: each frame shows two moments")


def test_a_raw_stream_without_a_container_is_refused_with_advice(made, tmp_path):
    path = remade("raw.h264", "-c", "copy")(made(plain), tmp_path)
    with pytest.raises(JobError, match=r"^raw.h264: convert it to .mp4: ffmpeg -i IN"):
        open_source(path)


def test_two_video_streams_are_noted(made, tmp_path):
    with open_source(RIGHT["two video streams"](made(plain), tmp_path)) as source:
        assert source.notes == ("has 2 video streams, the first is read",)
        assert np.ptp(source.frame(3)) == 0
