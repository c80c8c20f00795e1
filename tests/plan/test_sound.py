"""Tests the placement of sound, and the warnings about sound and picture of different length or speed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from scope_batch.core.plan import Plan
from scope_batch.core.sound import SoundFacts
from scope_batch.errors import JobError
from scope_batch.job import Job
from scope_batch.plan import plan_job, plan_to_dict
from tests.plan.helpers import CLIP, LONGLIVE

CLIP_WITH_SOUND = replace(CLIP, has_audio=True)
"""96 frames at 16 fps: 6 s."""


def with_clip(sound_s: float, **fields: Any) -> Plan:
    """Plan a job of 96 frames with a clip whose sound has that length."""
    values = {"prompt": "A", "num_frames": 96, "input_path": "/clip.mp4", "audio": "input", **fields}
    facts = SoundFacts(Path("/clip.mp4"), Fraction(1, 2), Fraction(sound_s))
    return plan_job(Job(**values), LONGLIVE, CLIP_WITH_SOUND, sound=facts)


def with_song(sound_s: float, **fields: Any) -> Plan:
    values = {"prompt": "A", "num_frames": 96, "audio": "/song.wav", **fields}
    return plan_job(Job(**values), LONGLIVE, None, sound=SoundFacts(Path("/song.wav"), Fraction(0), Fraction(sound_s)))


def placed(plan: Plan) -> tuple[float, float, str, float]:
    assert plan.sound is not None
    return float(plan.sound.start_s), float(plan.sound.take_s), plan.sound.length, float(plan.sound.round_s)


def test_sound_as_long_as_the_picture_is_not_reported() -> None:
    for planned in (with_clip(6), with_clip(6.05), with_song(5.96), with_clip(6, num_frames=48, input_start=1)):
        assert (planned.warnings, [n for n in planned.notes if "audio" in n]) == ((), [])
    assert placed(with_clip(6)) == (0.5, 6, "stop", 6)
    assert placed(with_clip(6, num_frames=48, input_start=1)) == (1.5, 3, "stop", 5)


@pytest.mark.parametrize("make", [with_clip, with_song])
def test_sound_that_ends_before_the_picture_is_reported_in_seconds(make: Any) -> None:
    (warning,) = make(4.5).warnings
    assert "the sound ends at 0:04.50, 1.50 s before the picture: silence from there on" in warning
    assert warning.endswith("(audio_length: loop, hold or stop)")


@pytest.mark.parametrize(
    ("length", "continuation"),
    [("stop", "silence from there on"), ("loop", "it starts over"), ("hold", "its last second is repeated")],
)
def test_an_explicit_audio_length_is_only_noted(length: str, continuation: str) -> None:
    planned = with_song(4, audio_length=length)
    assert planned.warnings == () and placed(planned)[1:3] == (4, length)
    assert any(f"2.00 s before the picture: {continuation}" in note for note in planned.notes)


def test_a_longer_song_is_reported_in_seconds() -> None:
    (warning,) = with_song(7.25).warnings
    assert warning == (
        "audio: song.wav is 7.25 s long, the picture 6.00 s: 1.25 s are cut off (audio_length: stop confirms this)"
    )
    assert with_song(7.25, audio_length="stop").warnings == ()


def test_the_input_s_sound_loops_with_its_picture() -> None:
    planned = with_clip(6, num_frames=144)
    assert placed(planned) == (0.5, 6, "loop", 6)
    assert len(planned.warnings) == 1 and "it starts over from frame 96 on" in planned.warnings[0]


def test_a_round_of_sound_is_as_long_as_a_round_of_picture() -> None:
    planned = with_clip(6, num_frames=144, fps=24)
    assert placed(planned)[1:] == (4, "loop", 4)
    assert any("after 96 frames they are 2.00 s apart (fps: 16 keeps them together)" in w for w in planned.warnings)


def test_sound_that_is_missing_in_each_round_is_reported() -> None:
    assert any("its sound ends 1.00 s before its picture" in w for w in with_clip(5, num_frames=144).warnings)


def test_a_picture_that_is_held_has_silence() -> None:
    planned = with_clip(6, num_frames=144, input_length="hold")
    assert placed(planned)[2] == "stop" and any("3.00 s before the picture" in w for w in planned.warnings)


@pytest.mark.parametrize(("fps", "pace", "apart"), [(24, "1.5x fast", "2.00 s"), (8, "2x slow", "6.00 s")])
def test_a_picture_at_another_speed_runs_apart(fps: int, pace: str, apart: str) -> None:
    warning = next(w for w in with_clip(6, fps=fps).warnings if "runs" in w)
    assert f"the picture runs {pace}" in warning and f"they are {apart} apart" in warning


def test_sound_after_its_end_is_refused() -> None:
    with pytest.raises(JobError, match="its sound ends before input_start"):
        with_clip(0.5, input_start=1)


def test_audio_length_without_sound_is_refused() -> None:
    with pytest.raises(JobError, match="audio_length: cannot be honoured, there is no sound"):
        plan_job(Job(prompt="A", audio_length="loop"), LONGLIVE, None)


def test_json_holds_the_placement_of_the_sound() -> None:
    assert plan_to_dict(with_clip(6, num_frames=144))["sound"] == {
        "path": "/clip.mp4", "audio_length": "loop", "start_s": 0.5, "take_s": 6.0, "round_s": 6.0,
    }  # fmt: skip
    assert plan_to_dict(plan_job(Job(prompt="A"), LONGLIVE, None))["sound"] is None
