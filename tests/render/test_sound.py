"""Sound is in sync with its video: a ramp of levels shows which second of the sound is heard when."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scope_batch.media.ffmpeg import run_quiet
from tests.render.helpers import SLATE, Renderer, ffmpeg, plan_of
from tests.render.test_timing import numbered

RATE = 8000
LONGEST_S = 4
"""The level of the ramp is its time in seconds divided by this."""


def ramp(path: Path, seconds: float) -> Path:
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc='t/{LONGEST_S}':s={RATE}:d={seconds}", "-c:a", "pcm_s16le", path)
    return path


def with_sound(folder: Path, frames: int = 32, fps: int = 16, seconds: float = 2) -> Path:
    """A clip of 2 s, as long as its sound."""
    picture, sound, clip = numbered(folder / "p.mkv", frames, fps), ramp(folder / "s.wav", seconds), folder / "clip.mkv"
    ffmpeg("-i", picture, "-i", sound, "-c", "copy", clip)
    return clip


def heard(video: Path) -> NDArray[np.float64]:
    """Return the second of the ramp heard at the middle of every eighth of a second; 0 also means silence."""
    out = video.with_suffix(".raw")
    ffmpeg("-i", video, "-map", "0:a:0", "-ac", "1", "-ar", str(RATE), "-f", "s16le", out)
    samples = np.fromfile(out, np.int16)[RATE // 16 :: RATE // 8]
    return samples.astype(np.float64) / 32768 * LONGEST_S


def eighths(*spans: tuple[float, float]) -> NDArray[np.float64]:
    """The middles of the eighths of a second in these spans of the ramp."""
    return np.concatenate([np.arange(start, end, 0.125) + 0.0625 for start, end in spans])


SILENCE = (-0.0625, 0.0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"num_frames": 32}, eighths((0, 2))),
        ({"num_frames": 16, "input_start": 1.0}, eighths((1, 2))),
        ({"num_frames": 16, "input_start": 0.5, "input_end": 1.5, "input_fps": 16}, eighths((0.5, 1.5))),
        ({"num_frames": 16, "input_fps": 8}, eighths((0, 2))),
        ({"num_frames": 48}, eighths((0, 2), (0, 1))),
        ({"num_frames": 40, "input_start": 1.0}, eighths((1, 2), (1, 2), (1, 1.5))),
        ({"num_frames": 64, "fps": 32}, eighths((0, 1), (0, 1))),
        ({"num_frames": 48, "audio_length": "stop"}, [*eighths((0, 2)), *[0] * 8]),
        ({"num_frames": 48, "input_length": "hold"}, [*eighths((0, 2)), *[0] * 8]),
        ({"num_frames": 48, "input_length": "hold", "audio_length": "loop"}, eighths((0, 2), (0, 1))),
    ],
)
def test_the_sound_of_the_input_is_in_sync_with_its_video(
    slate: Renderer, tmp_path: Path, fields: dict[str, Any], expected: Any
) -> None:
    slate(SLATE, "a.nut", input_path=str(with_sound(tmp_path)), audio="input", **fields)
    assert heard(tmp_path / "a.nut")[: len(expected)] == pytest.approx(np.asarray(expected), abs=0.02)


def test_sound_starts_with_the_first_frame_that_is_read(slate: Renderer, tmp_path: Path) -> None:
    """Of a clip with 4 frames a second, the first one after 0.3 s is shown at 0.5 s."""
    clip = with_sound(tmp_path, frames=8, fps=4)
    slate(SLATE, "a.nut", input_path=str(clip), audio="input", input_start=0.3, num_frames=4)
    assert heard(tmp_path / "a.nut")[:8] == pytest.approx(eighths((0.5, 1.5)), abs=0.02)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (None, [*eighths((0, 1.5)), *[0] * 12]),
        ("stop", [*eighths((0, 1.5)), *[0] * 12]),
        ("loop", eighths((0, 1.5), (0, 1.5))),
    ],
)
def test_audio_length_decides_how_a_short_song_continues(
    slate: Renderer, tmp_path: Path, length: str | None, expected: Any
) -> None:
    song = str(ramp(tmp_path / "song.wav", 1.5))
    slate(SLATE, "a.nut", num_frames=48, audio=song, audio_length=length)
    assert heard(tmp_path / "a.nut") == pytest.approx(np.asarray(expected), abs=0.02)


def test_a_held_song_repeats_its_last_second(slate: Renderer, tmp_path: Path) -> None:
    slate(SLATE, "a.nut", num_frames=56, audio=str(ramp(tmp_path / "song.wav", 1.5)), audio_length="hold")
    seconds = heard(tmp_path / "a.nut")
    assert seconds[:11] == pytest.approx(eighths((0, 1.375)), abs=0.02)
    assert seconds[12:] == pytest.approx(seconds[4:20], abs=0.02) and seconds[12:].min() > 0.4


def warnings_of(clip: Path | None, **fields: Any) -> tuple[str, ...]:
    named = {} if clip is None else {"input_path": str(clip), "audio": "input"}
    return plan_of({**SLATE, **named, **fields}).warnings


def test_a_different_speed_of_video_and_sound_is_reported_in_seconds(tmp_path: Path) -> None:
    clip = with_sound(tmp_path, frames=16, seconds=1)
    (warning,) = warnings_of(clip, num_frames="input", fps=24)
    assert "the picture runs 1.5x fast" in warning and "after 16 frames they are 0.33 s apart" in warning
    assert warnings_of(clip, num_frames="input") == ()
    assert plan_of({**SLATE, "input_path": str(clip), "num_frames": "input", "fps": 24}).warnings == ()


@pytest.mark.parametrize("name", ["a.webm", "a.mp4"])
def test_a_film_s_loudspeakers_go_into_any_video(slate: Renderer, tmp_path: Path, name: str) -> None:
    """AC-3 uses 5.1(side), which Opus does not support."""
    surround = ["-f", "lavfi", "-i", "sine=d=2", "-af", "pan=5.1(side)|FC=c0", "-c:a", "ac3"]
    ffmpeg("-i", numbered(tmp_path / "p.mkv", 32, 16), *surround, "-c:v", "copy", tmp_path / "film.mkv")
    slate(SLATE, name, input_path=str(tmp_path / "film.mkv"), audio="input", num_frames=9)
    report = run_quiet(["-hide_banner", "-i", str(tmp_path / name)]).stderr
    assert re.search(r"Audio: .*, 5\.1", report)
