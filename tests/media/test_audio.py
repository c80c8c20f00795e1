from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.media.audio import audio_args
from tests.media.conftest import ffmpeg


def sound(args: list[str], tmp_path: Path) -> np.ndarray:
    """Mono samples at 8 kHz that `args` select."""
    out = tmp_path / "out.raw"
    ffmpeg(*args, "-map", "0:a:0", "-ac", "1", "-ar", "8000", "-f", "s16le", out)
    return np.fromfile(out, np.int16)


@pytest.fixture
def beeping(drawn_clip, tmp_path) -> Path:
    """One second of picture; silence for half a second, then a tone."""
    picture = drawn_clip("picture.mkv", source="testsrc=s=64x48:r=25:d=1")
    path = tmp_path / "beep.mkv"
    tone = "aevalsrc='0.5*gt(t,0.5)*sin(2000*t)':s=8000:d=1"
    ffmpeg("-i", picture, "-f", "lavfi", "-i", tone, "-c:v", "copy", "-c:a", "pcm_s16le", path)
    return path


def test_no_sound_is_no_argument(tmp_path):
    assert audio_args("none", tmp_path / "any.mp4", 0.0, 1.0) is None


def test_the_inputs_sound_starts_with_its_first_frame_and_lasts_as_long_as_the_output(beeping, tmp_path):
    samples = sound(audio_args("input", beeping, 0.45, 0.2), tmp_path)
    assert abs(len(samples) - 1600) <= 1
    assert not samples[:390].any() and samples[420:].any()


def test_sound_that_begins_before_the_picture_is_cut_at_the_first_frame(beeping, tmp_path):
    late = tmp_path / "late.mov"
    ffmpeg("-itsoffset", "0.4", "-i", beeping, "-i", beeping, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    samples = sound(audio_args("input", late, None, 0.5), tmp_path)
    assert not samples[:780].any() and samples[820:1000].any()


def test_another_files_sound_starts_at_its_beginning(beeping, tmp_path):
    args = audio_args(str(beeping), None, 0.45, 0.2)
    assert "-ss" not in args and not sound(args, tmp_path).any()


def test_a_sound_file_may_be_given(tmp_path):
    for name in ("a.wav", "a.mp3", "a.flac", "a.ogg", "a.m4a"):
        ffmpeg("-f", "lavfi", "-i", "sine=d=0.3", tmp_path / name)
        assert len(sound(audio_args(str(tmp_path / name), None, 0, 0.1), tmp_path)) == 800


def test_missing_sound_is_refused(drawn_clip, tmp_path):
    silent = drawn_clip("silent.mp4")
    (tmp_path / "list.wav").write_text("#EXTM3U\n#EXTINF:1,\nsilent.mp4\n")
    np.save(tmp_path / "clip.npy", np.zeros((1, 4, 4, 3), np.uint8))
    for audio, path in [("input", silent), ("input", tmp_path / "clip.npy"), ("input", None), (str(silent), None),
                        (str(tmp_path / "list.wav"), None)]:  # fmt: skip
        with pytest.raises(JobError, match="audio"):
            audio_args(audio, path, 0.0, 1.0)
    with pytest.raises(MissingInputError, match=r"none.wav"):
        audio_args(str(tmp_path / "none.wav"), None, 0.0, 1.0)
