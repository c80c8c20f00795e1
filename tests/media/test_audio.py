from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from scope_batch.core.sound import SoundTrack
from scope_batch.errors import JobError, MissingInputError
from scope_batch.media.audio import probe_sound, sound_args, sound_filters
from tests.media.conftest import ffmpeg


def sound(track: SoundTrack, tmp_path: Path, seconds: float) -> np.ndarray:
    """Mono samples at 8 kHz that a track makes."""
    out = tmp_path / "out.raw"
    filters = ["-af", f"{sound_filters(track)},atrim=end={seconds}"]
    ffmpeg(*sound_args(track), "-map", "0:a:0", *filters, "-ac", "1", "-ar", "8000", "-f", "s16le", out)
    return np.fromfile(out, np.int16)


def track(path: Path, start_s: float, take_s: float, length="stop", round_s: float = 1) -> SoundTrack:
    return SoundTrack(path, Fraction(start_s), Fraction(take_s), length, Fraction(round_s))


@pytest.fixture
def beeping(drawn_clip, tmp_path) -> Path:
    """One second of picture; silence for half a second, then a tone."""
    picture = drawn_clip("picture.mkv", source="testsrc=s=64x48:r=25:d=1")
    path = tmp_path / "beep.mkv"
    tone = "aevalsrc='0.5*gt(t,0.5)*sin(2000*t)':s=8000:d=1"
    ffmpeg("-i", picture, "-f", "lavfi", "-i", tone, "-c:v", "copy", "-c:a", "pcm_s16le", path)
    return path


def test_sound_is_taken_from_its_start_and_silent_after_what_is_taken(beeping, tmp_path):
    samples = sound(track(beeping, 0.45, 0.2), tmp_path, 0.5)
    assert abs(len(samples) - 4000) <= 1
    assert not samples[:390].any() and samples[420:1590].any() and not samples[1610:].any()


def test_sound_starts_over_every_round(beeping, tmp_path):
    samples = sound(track(beeping, 0.5, 0.1, "loop", 0.25), tmp_path, 0.75)
    heard = [bool(samples[at + 100 : at + 300].any()) for at in range(400, 5600, 800)]
    assert len(samples) == 6000 and heard == [True, False, True, False, False, True, False]


def test_the_last_second_of_a_held_sound_is_repeated(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "aevalsrc='t/4':s=8000:d=2", tmp_path / "ramp.wav")
    samples = sound(track(tmp_path / "ramp.wav", 0, 2, "hold"), tmp_path, 4) / 8192
    assert samples[15_000] == pytest.approx(15_000 / 8000, abs=0.01)
    for at in (16_000, 20_000, 26_000, 31_000):
        assert samples[at] == pytest.approx(samples[at - 8000], abs=0.01) and samples[at] > 0.9


def test_length_is_counted_from_the_first_picture(beeping, tmp_path):
    late = tmp_path / "late.mov"
    ffmpeg("-itsoffset", "0.4", "-i", beeping, "-i", beeping, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    facts = probe_sound(late, of_clip=True)
    assert (float(facts.start_s), float(facts.seconds)) == pytest.approx((0.4, 0.6), abs=0.01)
    samples = sound(track(late, float(facts.start_s), 0.5), tmp_path, 0.5)
    assert not samples[:780].any() and samples[820:1000].any()


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac", "a.ogg", "a.m4a", "a.mkv", "a.nut"])
def test_the_length_of_a_sound_file_is_measured(tmp_path, name):
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.75", tmp_path / name)
    facts = probe_sound(tmp_path / name)
    assert facts.start_s == 0 and float(facts.seconds) == pytest.approx(0.75, abs=0.03)


def test_missing_sound_is_refused(drawn_clip, tmp_path):
    silent = drawn_clip("silent.mp4")
    (tmp_path / "list.wav").write_text("#EXTM3U\n#EXTINF:1,\nsilent.mp4\n")
    np.save(tmp_path / "clip.npy", np.zeros((1, 4, 4, 3), np.uint8))
    for path in (silent, tmp_path / "clip.npy", tmp_path / "list.wav"):
        with pytest.raises(JobError, match=rf"{path.name}: has no sound that can be read"):
            probe_sound(path)
    with pytest.raises(MissingInputError, match=r"none.wav"):
        probe_sound(tmp_path / "none.wav")
