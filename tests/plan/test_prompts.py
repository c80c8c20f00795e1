from __future__ import annotations

import pytest

from scope_batch.errors import JobError
from tests.plan.helpers import SDV2, blend, marks, plan, texts, video_plan, way

TWO = [{"text": "B", "weight": 3}, {"text": "C", "weight": 1}]


def test_a_prompt_holds_until_the_next_one_and_a_change_recaches() -> None:
    planned = plan({"chunk": 2, "text": "B"}, num_frames=48)
    assert texts(planned) == ["A", "A", "B", "B", "B"]
    assert marks(planned) == ["cut", "", "recache", "", ""]
    assert planned.chunks[2].recache_reason == "prompt change"


def test_the_opening_entry_replaces_the_jobs_prompt() -> None:
    planned = plan({"chunk": 0, "text": "B"}, num_frames=20)
    assert texts(planned) == ["B", "B"]


def test_a_pipeline_without_recache_renews_the_text_only() -> None:
    assert marks(plan({"chunk": 2, "text": "B"}, num_frames=16, spec=SDV2)) == ["cut", "", "text", ""]


def test_weights_are_normalised() -> None:
    planned = plan({"chunk": 1, "prompts": TWO})
    assert [(p.text, p.weight) for p in blend(planned.chunks[1]).prompts] == [("B", 0.75), ("C", 0.25)]


@pytest.mark.parametrize("again", [{"text": "A"}, {"prompts": [{"text": "A", "weight": 100}]}])
def test_the_same_prompt_again_is_no_change(again: dict[str, object]) -> None:
    assert not any(marks(plan({"chunk": 2, **again}))[1:])
    assert not any(marks(video_plan({"chunk": 2, **again}))[1:])


def test_equal_weights_up_to_rounding_are_no_change() -> None:
    parts = [[{"text": "B", "weight": a}, {"text": "C", "weight": b}] for a, b in ((0.1, 0.5), (1, 5))]
    assert marks(plan({"chunk": 1, "prompts": parts[0]}, {"chunk": 2, "prompts": parts[1]}))[:3] == [
        "cut",
        "recache",
        "",
    ]


def test_the_method_is_the_entrys_else_the_request_s() -> None:
    planned = plan(
        {"chunk": 1, "prompts": TWO, "prompt_interpolation_method": "linear"},
        {"chunk": 2, "prompts": TWO},
        prompt_interpolation_method="slerp",
    )
    assert [blend(chunk).method for chunk in planned.chunks[1:3]] == ["linear", "slerp"]


def test_a_new_prompt_on_a_cut_needs_no_recache() -> None:
    chunk = plan({"chunk": 2, "text": "B", "reset_cache": True}).chunks[2]
    assert (chunk.recache_reason, chunk.text_changed) == (None, True)


def test_a_cut_alone_leaves_the_text_as_it_is() -> None:
    assert not plan({"chunk": 2, "reset_cache": True}).chunks[2].text_changed


def test_a_method_alone_blends_the_current_prompts_again() -> None:
    planned = plan({"chunk": 1, "prompts": TWO}, {"chunk": 2, "prompt_interpolation_method": "slerp"})
    assert blend(planned.chunks[2]).method == "slerp" and marks(planned)[2] == "recache"


def test_slerp_of_another_number_than_two_is_linear_and_noted() -> None:
    planned = plan({"chunk": 1, "text": "B", "prompt_interpolation_method": "slerp"})
    assert blend(planned.chunks[1]).method == "linear"
    (note,) = planned.notes
    assert note == (
        "prompt_interpolation_method: slerp blends two prompts; another number is blended linearly (chunk 1)"
    )


def test_in_video_mode_a_change_is_a_cut_unless_the_cache_is_left_alone() -> None:
    change = {"chunk": 2, "text": "B"}
    planned = video_plan(change)
    assert planned.chunks[2].cut_reason == "prompt change in video mode" and planned.chunks[2].frames == 13
    assert marks(video_plan(change, manage_cache=False))[2] == "recache"
    assert marks(video_plan({**change, "manage_cache": False}))[2:4] == ["recache", ""]


def test_a_transition_runs_from_the_old_prompt_to_the_new_one() -> None:
    planned = plan({"chunk": 1, "text": "B", "transition_num_steps": 3}, num_frames=60)
    assert texts(planned) == ["A", "A>B 0.00", "A>B 0.50", "A>B 1.00", "B", "B"]
    assert marks(planned) == ["cut", "recache", "recache", "recache", "", ""]
    assert [(way(c).step, way(c).steps) for c in planned.chunks[1:4]] == [(0, 3), (1, 3), (2, 3)]


def test_a_transition_never_cuts_in_video_mode() -> None:
    planned = video_plan({"chunk": 1, "text": "B", "transition_num_steps": 3})
    assert marks(planned)[:5] == ["cut", "recache", "recache", "recache", ""]


@pytest.mark.parametrize("steps", [0, 1])
def test_no_steps_or_one_is_a_plain_change(steps: int) -> None:
    planned = plan({"chunk": 1, "text": "B", "transition_num_steps": steps})
    assert texts(planned)[:3] == ["A", "B", "B"]


def test_target_prompts_without_a_number_take_the_protocols_four_steps() -> None:
    planned = plan({"chunk": 1, "transition_target_prompts": [{"text": "B"}]})
    assert way(planned.chunks[4]).steps == 4 and way(planned.chunks[4]).t == 1


def test_a_transition_method_is_the_transitions_own() -> None:
    planned = plan({"chunk": 1, "prompts": TWO, "transition_num_steps": 2, "transition_method": "slerp"})
    assert (way(planned.chunks[1]).method, way(planned.chunks[1]).target.method) == ("slerp", "linear")


def test_a_transition_on_a_cut_is_at_its_target_at_once() -> None:
    entry = {"chunk": 2, "text": "B", "transition_num_steps": 4, "reset_cache": True}
    planned = plan(entry, cuts="allow", seed=[1, 2, 3, 4])
    assert texts(planned)[2:4] == ["B", "B"]
    assert planned.warnings == (
        "chunk_specs[0] (chunk 2): transition_num_steps has no effect: a transition cannot start on chunk 2 "
        "(the sequence restarts here), its target is in force at once",
    )


def test_a_transition_on_the_first_chunk_is_at_its_target_at_once() -> None:
    planned = plan({"chunk": 0, "text": "B", "transition_num_steps": 4})
    assert texts(planned)[0] == "B" and "the job starts here" in planned.warnings[0]


def test_a_cut_in_the_middle_jumps_to_the_target() -> None:
    planned = plan({"chunk": 1, "text": "B", "transition_num_steps": 5}, {"chunk": 3, "reset_cache": True, "seed": 7})
    assert texts(planned)[1:5] == ["A>B 0.00", "A>B 0.25", "B", "B"]
    assert marks(planned)[3:5] == ["cut", ""]
    assert "ends the transition on its target after 2 of 5 steps" in planned.warnings[0]


def test_the_last_chunk_of_the_job_shows_the_target() -> None:
    planned = plan({"chunk": 2, "text": "B", "transition_num_steps": 8}, num_frames=57)
    assert texts(planned)[2:] == ["A>B 0.00", "A>B 0.14", "A>B 1.00"]
    assert "transition_num_steps: 3 would fit" in planned.warnings[0]


def test_a_transition_that_just_fits_needs_no_warning() -> None:
    assert plan({"chunk": 2, "text": "B", "transition_num_steps": 3}, num_frames=57).warnings == ()


def test_a_new_transition_starts_from_the_very_step_in_force() -> None:
    planned = plan(
        {"chunk": 1, "text": "B", "transition_num_steps": 4},
        {"chunk": 3, "text": "C", "transition_num_steps": 3},
    )
    assert way(planned.chunks[2]).t == 1 / 3
    assert way(planned.chunks[3]).source == 2  # the chunk whose step was the last of the first transition
    assert [way(c).t for c in planned.chunks[3:6]] == [0, 0.5, 1]
    assert way(planned.chunks[5]).source == 2


def test_a_plain_prompt_ends_a_transition() -> None:
    planned = plan({"chunk": 1, "text": "B", "transition_num_steps": 4}, {"chunk": 3, "text": "C"})
    assert texts(planned)[2:5] == ["A>B 0.33", "C", "C"]
    assert marks(planned)[3:5] == ["recache", ""]


def test_a_plain_prompt_during_a_transition_cuts_in_video_mode() -> None:
    planned = video_plan({"chunk": 1, "text": "B", "transition_num_steps": 4}, {"chunk": 3, "text": "B"})
    assert (marks(planned)[3], texts(planned)[3]) == ("cut", "B")


def test_a_method_during_a_transition_changes_only_its_target() -> None:
    planned = plan(
        {"chunk": 1, "prompts": TWO, "transition_num_steps": 4},
        {"chunk": 2, "prompt_interpolation_method": "slerp"},
    )
    assert [(way(c).target.method, way(c).step) for c in planned.chunks[1:4]] == [
        ("linear", 0),
        ("slerp", 1),
        ("slerp", 2),
    ]


def test_a_transition_to_the_prompt_in_force_is_no_change() -> None:
    assert not any(marks(plan({"chunk": 1, "text": "A", "transition_num_steps": 4}))[1:])


def test_a_transition_method_without_steps_is_refused() -> None:
    with pytest.raises(JobError, match="transition_method needs transition_num_steps"):
        plan({"chunk": 1, "text": "B", "transition_method": "slerp"})


def test_a_transition_that_another_prompt_interrupts_is_reported() -> None:
    planned = plan({"chunk": 2, "text": "B", "transition_num_steps": 4}, {"chunk": 4, "text": "C"})
    assert "takes over after 2 of 4 steps of the transition: its target is never reached" in planned.warnings[0]
