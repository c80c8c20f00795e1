"""Where the sound lies, and what is said of sound and picture that differ in length or speed."""

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


def planned(sound_s: float, **fields: Any) -> Plan:
    """A job of 96 frames with a clip whose sound is that long."""
    values = {"prompt": "A", "num_frames": 96, "input_path": "/clip.mp4", "audio": "input", **fields}
    facts = SoundFacts(Path("/clip.mp4"), Fraction(1, 2), Fraction(sound_s))
    return plan_job(Job(**values), LONGLIVE, CLIP_WITH_SOUND, sound=facts)


def with_song(sound_s: float, **fields: Any) -> Plan:
    values = {"prompt": "A", "num_frames": 96, "audio": "/song.wav", **fields}
    return plan_job(Job(**values), LONGLIVE, None, sound=SoundFacts(Path("/song.wav"), Fraction(0), Fraction(sound_s)))


def placed(plan: Plan) -> tuple[float, float, str, float]:
    assert plan.sound is not None
    return float(plan.sound.start_s), float(plan.sound.take_s), plan.sound.length, float(plan.sound.round_s)


def test_sound_as_long_as_the_picture_needs_no_words() -> None:
    for made in (planned(6), planned(6.05), with_song(5.96), planned(6, num_frames=48, input_start=1)):
        assert (made.warnings, [n for n in made.notes if "audio" in n]) == ((), [])
    assert placed(planned(6)) == (0.5, 6, "stop", 6)
    assert placed(planned(6, num_frames=48, input_start=1)) == (1.5, 3, "stop", 5)


@pytest.mark.parametrize("make", [planned, with_song])
def test_sound_that_ends_before_the_picture_is_told_in_seconds(make: Any) -> None:
    (warning,) = make(4.5).warnings
    assert "the sound ends at 0:04.50, 1.50 s before the picture: silence from there on" in warning
    assert warning.endswith("(audio_length: loop, hold or stop)")


@pytest.mark.parametrize(
    ("length", "says"),
    [("stop", "silence from there on"), ("loop", "it starts over"), ("hold", "its last second is repeated")],
)
def test_what_the_job_says_of_it_is_a_note(length: str, says: str) -> None:
    made = with_song(4, audio_length=length)
    assert made.warnings == () and placed(made)[1:3] == (4, length)
    assert any(f"2.00 s before the picture: {says}" in note for note in made.notes)


def test_a_longer_song_is_told_in_seconds() -> None:
    (warning,) = with_song(7.25).warnings
    assert warning == (
        "audio: song.wav is 7.25 s long, the picture 6.00 s: 1.25 s are cut off (audio_length: stop says that this is "
        "meant)"
    )
    assert with_song(7.25, audio_length="stop").warnings == ()


def test_the_input_s_sound_loops_with_its_picture() -> None:
    made = planned(6, num_frames=144)
    assert placed(made) == (0.5, 6, "loop", 6)
    assert len(made.warnings) == 1 and "it starts over from frame 96 on" in made.warnings[0]


def test_a_round_of_sound_is_as_long_as_a_round_of_picture() -> None:
    made = planned(6, num_frames=144, fps=24)
    assert placed(made)[1:] == (4, "loop", 4)
    assert any("after 96 frames they are 2.00 s apart (fps: 16 keeps them together)" in w for w in made.warnings)


def test_sound_that_is_missing_in_each_round_is_told() -> None:
    assert any("its sound ends 1.00 s before its picture" in w for w in planned(5, num_frames=144).warnings)


def test_a_picture_that_is_held_has_silence() -> None:
    made = planned(6, num_frames=144, input_length="hold")
    assert placed(made)[2] == "stop" and any("3.00 s before the picture" in w for w in made.warnings)


@pytest.mark.parametrize(("fps", "pace", "apart"), [(24, "1.5x fast", "2.00 s"), (8, "2x slow", "6.00 s")])
def test_a_picture_at_another_speed_runs_apart(fps: int, pace: str, apart: str) -> None:
    warning = next(w for w in planned(6, fps=fps).warnings if "runs" in w)
    assert f"the picture runs {pace}" in warning and f"they are {apart} apart" in warning


def test_sound_after_its_end_is_refused() -> None:
    with pytest.raises(JobError, match="its sound ends before input_start"):
        planned(0.5, input_start=1)


def test_audio_length_without_sound_is_refused() -> None:
    with pytest.raises(JobError, match="audio_length: cannot be honoured, there is no sound"):
        plan_job(Job(prompt="A", audio_length="loop"), LONGLIVE, None)


def test_json_tells_where_the_sound_lies() -> None:
    assert plan_to_dict(planned(6, num_frames=144))["sound"] == {
        "path": "/clip.mp4", "audio_length": "loop", "start_s": 0.5, "take_s": 6.0, "round_s": 6.0,
    }  # fmt: skip
    assert plan_to_dict(plan_job(Job(prompt="A"), LONGLIVE, None))["sound"] is None
