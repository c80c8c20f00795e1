"""Tests of the frames and notes of clips of many sizes and colour formats."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import JobError
from scope_batch.media import clip
from scope_batch.media.colour import Colour
from scope_batch.media.frame_list import FrameList
from scope_batch.media.open import open_source
from tests.media import recipes
from tests.media.recipes import numbers_in, numbers_of
from tests.media.test_video_input import plan_for, shown

ORANGE = (0xC0, 0x80, 0x60)


def test_frames_behind_a_change_of_matrix_are_the_right_ones(made):
    path = made(recipes.another_matrix)
    assert numbers_of(list(shown(plan_for(path, 33, start_s=0.75)))) == list(range(12, 45))
    with open_source(path) as source:
        assert numbers_in(source) == list(range(60))
        assert source.notes[0].startswith(
            "changes on the way: BT.709, limited range; from frame 40 (2.501 s) on BT.601, limited range; every frame"
        )


def test_frames_behind_a_change_of_range_keep_their_levels(made):
    with open_source(made(recipes.another_range)) as source:
        assert numbers_in(source, first=5) == list(range(5, 20))


def test_every_frame_is_fitted_by_its_own_size(made):
    path = made(recipes.another_size)
    with open_source(path) as source:
        assert [source.frame(i).shape[:2] for i in (11, 12, 23, 24)] == [(48, 64), (64, 32), (64, 32), (48, 64)]
        assert "64x48; from frame 12 (0.751 s) on 32x64; from frame 24 (1.502 s) on 64x48" in source.notes[0]
    square = shown(plan_for(path, 36, size=(64, 64)))[18, :, :, 0] > 128
    assert abs(int(square.any(axis=0).sum()) - int(square.any(axis=1).sum())) <= 1


def test_sizes_that_change_between_key_frames_are_found(made, monkeypatch):
    monkeypatch.setattr(clip, "HEAD_FRAMES", 4)
    with open_source(made(recipes.resized_between_key_frames)) as source:
        frames = [source.frame(index) for index in range(source.frames)]
    assert len({frame.shape for frame in frames}) > 3 and numbers_of(frames) == list(range(40))


@pytest.mark.parametrize("transfer", ["arib-std-b67", "smpte2084"])
def test_hdr_arrives_in_the_colours_of_sdr(tmp_path, transfer):
    with open_source(recipes.hdr(tmp_path / "hdr.mov", transfer)) as source:
        assert np.abs(source.frame(3).reshape(-1, 3).astype(int) - ORANGE).max() <= 3
        assert source.notes == (f"{'HLG' if transfer == 'arib-std-b67' else 'PQ (HDR10)'}, converted to SDR",)


def test_hdr_of_an_odd_size_is_converted_too(tmp_path):
    coded = recipes.hdr(tmp_path / "even.mov", "smpte2084")
    odd = "scale=63:47:flags=accurate_rnd,format=yuv420p10le"
    recipes.ffmpeg("-i", coded, "-vf", odd, "-c:v", "ffv1", tmp_path / "odd.mkv")
    with open_source(tmp_path / "odd.mkv") as source:
        frame = source.frame(0)
    assert frame.shape == (47, 63, 3) and np.abs(frame[20, 20].astype(int) - ORANGE).max() <= 3


def test_white_of_sdr_is_below_the_highlights_of_hdr(tmp_path):
    """The reference white is near the top, and what is brighter still differs from it."""
    levels = []
    for index, colour in enumerate(("gray", "white")):
        with open_source(recipes.hdr(tmp_path / f"{index}.mov", "smpte2084", colour, white_cd_m2=406)) as source:
            levels.append(int(source.frame(0).max()))
    with open_source(recipes.hdr(tmp_path / "white.mov", "smpte2084", "white")) as source:
        white = int(source.frame(0).max())
    assert levels[0] < 240 <= white < levels[1] < 255


def test_a_clip_that_turns_from_hdr_to_sdr_keeps_its_colour(made):
    with open_source(made(recipes.hdr_then_sdr)) as source:
        for index in (7, 8, 15, 0):
            assert np.abs(source.frame(index)[24, 32].astype(int) - ORANGE).max() <= 3, index


@pytest.mark.parametrize(
    ("name", "encode"),
    [("a.webm", ("-c:v", "libvpx", "-auto-alt-ref", "0", "-pix_fmt", "yuva420p")),
     ("b.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p")),
     ("c.mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le")),
     ("d.mov", ("-c:v", "libx265", "-x265-params", "log-level=0", "-tag:v", "hvc1", "-pix_fmt", "yuva420p"))],
    ids=["vp8", "vp9", "prores", "hevc"],
)  # fmt: skip
def test_alpha_becomes_white_with_every_codec(tmp_path, name, encode):
    with open_source(recipes.transparent(tmp_path / name, *encode)) as source:
        frame = source.frame(1).astype(int)
        assert np.abs(frame[2, 2] - 255).max() <= 1 and np.abs(frame[24, 32] - (0x30, 0x60, 0xC0)).max() <= 3
        assert source.notes == ("has an alpha channel, laid on white",)


def test_wide_primaries_are_converted(tmp_path):
    """The Display P3 numbers of sRGB's 200, 90, 60 come back as those."""
    tags = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc"
    coded = "zscale=p=smpte432:t=bt709:m=bt709:r=tv,format=yuv444p10le"
    recipes.ffmpeg("-f", "lavfi", "-i", "color=c=0xC85A3C:s=64x48:r=16:d=0.2,format=gbrp", "-vf",
                   f"{tags},zscale=t=linear,format=gbrpf32le,{coded}", "-c:v", "ffv1", tmp_path / "p3.mkv")  # fmt: skip
    with open_source(tmp_path / "p3.mkv") as source:
        assert np.abs(source.frame(0)[24, 32].astype(int) - (200, 90, 60)).max() <= 2
        assert source.notes == ("Display P3 colours, converted to BT.709",)


def test_dolby_vision_without_a_base_that_can_be_read_is_refused_with_advice(tmp_path):
    with pytest.raises(JobError, match=r"^dv5.mov: is Dolby Vision of profile 5, .*; export it as H.264 or ProRes"):
        open_source(recipes.dolby_vision_5(tmp_path))


def test_colours_that_no_filter_knows_are_refused_with_advice():
    colour = Colour("yuv420p10le", "tv", "ipt-c2", "bt2020", "smpte2084")
    with pytest.raises(JobError, match=r"^a.mp4: its colours are stored as ipt-c2, .*; export it as H.264 or ProRes"):
        colour.filters("a.mp4", 64, 48)


def test_a_change_that_the_key_frames_did_not_show_is_refused_and_nothing_slips(made, tmp_path, monkeypatch):
    path = Path(shutil.copy(made(recipes.another_size), tmp_path))  # a file that was not probed before
    monkeypatch.setattr(clip, "HIDDEN_FRAME_CODECS", frozenset())
    monkeypatch.setattr(clip, "_may_change", lambda *_: False)
    monkeypatch.setattr(clip, "HEAD_FRAMES", 8)
    with open_source(path) as source, pytest.raises(JobError, match=r"size.webm: changes its size or colours near"):
        for index in range(source.frames):
            source.frame(index)


def test_a_file_is_probed_once_while_it_stays_as_it_is(lossless, monkeypatch):
    path, _ = lossless(5)
    clip.probe_video(path)
    monkeypatch.setattr(clip, "decoded_frames", lambda *_, **__: FrameList(tick_s=None))
    assert clip.probe_video(path).timing.end == clip.probe_video(path).timing.end
