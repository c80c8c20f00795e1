from __future__ import annotations

from dataclasses import replace

import pytest

from scope_batch.errors import JobError
from tests.plan.helpers import CLIP, marks, plan, video_plan


def test_a_seed_list_is_per_chunk_and_its_last_value_repeats() -> None:
    assert [c.seed for c in plan(seed=[5, 6], num_frames=33).chunks] == [5, 6, 6]


def test_the_noise_is_drawn_from_the_seed_plus_the_latents_since_the_cut() -> None:
    planned = plan({"chunk": 2, "reset_cache": True, "seed": 7}, num_frames=40)
    assert [c.noise_seed for c in planned.chunks] == [42, 45, 7, 45]


def test_a_longer_list_than_chunks_is_warned_about() -> None:
    assert plan(seed=[1, 2, 3, 4], num_frames=20).warnings == (
        "seed: 4 values for 2 chunks; the last 2 are never used",
    )


def test_a_chunks_own_values_hold_for_that_chunk() -> None:
    entry = {"chunk": 1, "seed": 9, "noise_scale": 0.3, "noise_controller": True}
    planned = video_plan(entry, noise_scale=0.5)
    assert [(c.seed, c.noise_scale, c.noise_controller) for c in planned.chunks[:3]] == [
        (42, 0.5, False),
        (9, 0.3, True),
        (42, 0.5, False),
    ]


def test_the_controller_is_on_unless_a_noise_scale_is_written_anywhere() -> None:
    assert all(c.noise_controller and c.noise_scale == 0.7 for c in video_plan().chunks)
    assert not any(c.noise_controller for c in video_plan(noise_scale=0.7).chunks)
    assert not any(c.noise_controller for c in video_plan({"chunk": 3, "noise_scale": 0.5}).chunks)
    assert all(c.noise_controller for c in video_plan(noise_scale=0.5, noise_controller=True).chunks)


def test_text_mode_has_neither_noise_scale_nor_controller() -> None:
    assert {(c.noise_scale, c.noise_controller) for c in plan().chunks} == {(None, False)}


def test_steps_default_per_mode() -> None:
    assert plan().chunks[0].denoising_steps == (1000, 750, 500, 250)
    assert video_plan().chunks[0].denoising_steps == (1000, 750)
    assert video_plan(denoising_steps=[1000, 500]).chunks[0].denoising_steps == (1000, 500)


def test_other_steps_for_one_chunk_cut_there_and_after() -> None:
    planned = plan({"chunk": 1, "denoising_steps": [1000, 500]})
    assert marks(planned)[:4] == ["cut", "cut", "cut", ""]
    assert planned.chunks[1].cut_reason == "denoising_steps change"


def test_other_steps_are_no_cut_without_manage_cache() -> None:
    assert not any(marks(plan({"chunk": 1, "denoising_steps": [1000, 500]}, manage_cache=False))[1:])


def test_reasons_of_one_cut_are_named_together() -> None:
    planned = video_plan({"chunk": 1, "denoising_steps": [1000, 500], "text": "B"})
    assert planned.chunks[1].cut_reason == "denoising_steps change and prompt change in video mode"


def test_cuts_are_warned_about_but_not_requested_ones() -> None:
    planned = video_plan({"chunk": 1, "text": "B", "seed": 1}, {"chunk": 3, "reset_cache": True, "seed": 2})
    (warning,) = planned.warnings
    assert warning.startswith("hard cut at chunk 1 (frame 13): prompt change in video mode; ")


def test_cuts_allowed_are_silent() -> None:
    assert video_plan({"chunk": 1, "text": "B", "seed": 1}, cuts="allow").warnings == ()


def test_forbidden_cuts_are_listed() -> None:
    with pytest.raises(JobError) as caught:
        video_plan({"chunk": 1, "text": "B"}, {"chunk": 3, "reset_cache": True}, cuts="forbid")
    assert len(caught.value.problems) == 2
    assert video_plan(cuts="forbid").chunks[0].cut  # the start is none


def test_a_cut_that_repeats_the_opening_noise_is_warned_about() -> None:
    resets = [{"chunk": k, "reset_cache": True} for k in (2, 4)]
    assert plan(*resets).warnings == (
        "chunks 2, 4 start from the same noise as chunk 0 (seed 42); "
        "give each cut a seed of its own, 1000 or more apart",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"noise_scale": 0.5},
        {"noise_scale": [0.7, 0.6]},
        {"noise_controller": True},
        {"input_length": "hold"},
        {"input_fps": 12},
        {"input_start": 1.5},
        {"input_end": 3.0},
        {"fit": "pad"},
        {"kv_cache_attention_bias": 0.3},
    ],
)
def test_a_field_without_effect_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(JobError, match=f"^{next(iter(fields))}: cannot be honoured"):
        plan(**fields)


@pytest.mark.parametrize(
    "fields",
    [{"noise_scale": 0.7}, {"noise_controller": False}, {"fit": "crop"}, {"input_start": 0}],
)
def test_its_default_is_only_noted(fields: dict[str, object]) -> None:
    (note,) = plan(**fields).notes
    assert note.startswith(f"{next(iter(fields))} has no effect: ")


def test_the_same_holds_for_an_entry() -> None:
    with pytest.raises(JobError, match=r"chunk_specs\[1\].noise_scale: cannot be honoured, there is no input video"):
        plan({"chunk": 0, "seed": 1}, {"chunk": 1, "noise_scale": 0.5})


def test_in_video_mode_the_input_s_fields_are_honoured() -> None:
    clip = replace(CLIP, width=500, frames=50)
    planned = video_plan(clip=clip, noise_scale=0.5, fit="pad", input_length="hold", noise_controller=False)
    assert not any("has no effect" in note for note in planned.notes)
