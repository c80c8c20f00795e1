from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from scope_batch.core.plan import ClipFacts
from scope_batch.errors import JobError
from tests.effort import growth
from tests.plan.helpers import CLIP, LONGLIVE, SDV2, plan, video_plan


def test_text_chunks_are_nine_then_twelve_frames_and_the_last_is_trimmed() -> None:
    chunks = plan(num_frames=30).chunks
    assert [(c.first_frame, c.frames, c.keep, c.latents, c.start_latent) for c in chunks] == [
        (0, 9, 9, 3, 0),
        (9, 12, 12, 3, 3),
        (21, 12, 9, 3, 6),
    ]


def test_video_chunks_are_thirteen_then_twelve_frames() -> None:
    chunks = video_plan(num_frames=30).chunks
    assert [(c.frames, c.keep, c.latents, c.start_latent) for c in chunks] == [
        (13, 13, 4, 0),
        (12, 12, 3, 4),
        (12, 5, 3, 7),
    ]


def test_one_latent_per_block_makes_five_then_four_frames() -> None:
    assert [c.frames for c in plan(num_frames=12, spec=SDV2).chunks] == [5, 4, 4]


@pytest.mark.parametrize("frames", range(1, 61))
@pytest.mark.parametrize("reset", [None, 1, 2])
def test_exactly_the_requested_frames_without_gaps(frames: int, reset: int | None) -> None:
    for make in (plan, video_plan):
        entries = [{"chunk": reset, "reset_cache": True}] if reset and frames > 30 else []
        planned = make(*entries, num_frames=frames)
        delivered = [f for c in planned.chunks for f in range(c.first_frame, c.first_frame + c.keep)]
        assert delivered == list(range(frames))
        assert all(c.keep == c.frames for c in planned.chunks[:-1])


def test_a_reset_starts_another_first_chunk() -> None:
    chunks = plan({"chunk": 2, "reset_cache": True}, num_frames=48).chunks
    assert [(c.frames, c.start_latent) for c in chunks[:4]] == [(9, 0), (12, 3), (9, 0), (12, 3)]
    assert chunks[2].cut_reason == "reset_cache"


def test_num_frames_input_is_the_length_of_the_clip() -> None:
    assert video_plan(num_frames="input", clip=replace(CLIP, frames=50)).num_frames == 50


def test_fps_is_the_jobs_else_the_clips_else_sixteen() -> None:
    clip = replace(CLIP, fps=Fraction(25))
    assert video_plan(clip=clip, fps=30).fps == 30
    assert video_plan(clip=clip).fps == 25
    assert video_plan(clip=replace(CLIP, fps=Fraction(10)), input_fps=10).fps == 10
    assert plan().fps == 16


def test_the_size_is_the_jobs_else_the_pipelines_never_the_clip_s() -> None:
    planned = video_plan(clip=replace(CLIP, width=1920, height=1080), height=480)
    assert (planned.height, planned.width) == (480, 576)


def test_a_short_clip_loops_or_holds_with_a_warning_or_is_refused() -> None:
    clip = replace(CLIP, frames=40)
    assert "it starts over from frame 40 on" in video_plan(clip=clip).warnings[0]
    assert "its last frame is held" in video_plan(clip=clip, input_length="hold").warnings[0]
    with pytest.raises(JobError, match="input_length: the input has 40 frames, the job asks for 96"):
        video_plan(clip=clip, input_length="error")


@pytest.mark.parametrize(
    ("clip", "fields", "note"),
    [
        (ClipFacts(576, 320, 96, Fraction(16), True), {}, "sound is dropped"),
        (ClipFacts(576, 320, 200, Fraction(16), False), {}, "the input has 200 frames, the first 96 are used"),
        (ClipFacts(640, 640, 96, Fraction(16), False), {"fit": "pad"}, "bars fill the rest"),
        (ClipFacts(576, 320, 96, Fraction(25), False), {"fps": 16}, "it plays slower"),
    ],
)
def test_changes_of_the_clip_are_noted(clip: ClipFacts, fields: dict[str, object], note: str) -> None:
    (only,) = video_plan(clip=clip, **fields).notes
    assert note in only


def test_a_clip_that_fits_needs_no_note() -> None:
    planned = video_plan(clip=replace(CLIP, width=1152, height=640))
    assert (planned.notes, planned.warnings) == ((), ())


def test_audio_input_without_sound_is_refused() -> None:
    with pytest.raises(JobError, match="no sound"):
        video_plan(audio="input")


def test_beyond_the_published_positions_a_warning_names_the_first_chunk() -> None:
    (warning,) = plan(num_frames=4 * 1023 - 3 + 1).warnings
    assert warning.startswith("from chunk 341 (frame 4089) on the sequence is longer than 1020 latent frames")
    assert plan(num_frames=4 * 1023 - 3).warnings == ()
    assert plan(num_frames=4 * 1023 - 3 + 1, spec=replace(LONGLIVE, memory="context")).warnings == ()


def test_planning_interrupted_transitions_takes_work_in_proportion_to_the_chunks() -> None:
    def interrupt(chunks: int) -> None:
        entries = [{"chunk": k, "text": f"t{k}", "transition_num_steps": 9} for k in range(1, chunks)]
        assert len(plan(*entries, num_frames=12 * chunks).chunks) == chunks + 1

    assert growth(interrupt, 400) < 2.2
