from __future__ import annotations

import math
from typing import Any

import pytest

from tests.importing.helpers import block, imported, job_of, notes_of, plan_of, shown, timeline


def test_seconds_become_frames_at_the_stated_rate() -> None:
    export = timeline(block(0, 11.4555, "a"), block(11.4555, 24.168, "b"), block(24.168, 36.945, "c"))
    plan = plan_of(export)
    assert plan.num_frames == 591 and plan.fps == 16
    assert [landing.asked for landing in plan.landings] == ["time 11.4555 s", "time 24.168 s"]
    assert [landing.first_frame for landing in plan.landings] == [177, 381]
    assert plan_of(export, 8).num_frames == 296


@pytest.mark.parametrize(("rate", "frames"), [("29.97", 300), ("30000/1001", 300)])
def test_any_rate_of_a_job_is_allowed(rate: str, frames: int) -> None:
    plan = plan_of(timeline(block(0, 10)), rate)
    assert plan.num_frames == frames and abs(plan.fps - 29.97) < 0.001


def test_the_time_of_a_frame_becomes_that_frame() -> None:
    # JavaScript's own sums: 24.168000000000003 where 24.168 was meant.
    assert shown(timeline(block(0, 0.1 + 0.2, "a"), block(0.1 + 0.2, 5, "b"))) == [(0, "a"), (0.3, "b")]


def test_in_a_gap_the_last_prompt_is_shown() -> None:
    assert shown(timeline(block(0, 2, "a"), block(4, 6, "b"))) == [(0, "a"), (4, "b")]


def test_of_overlapping_blocks_the_first_listed_is_shown() -> None:
    export = timeline(block(3, 5, "over"), block(0, 10, "under"))
    assert shown(export) == [(0, "under"), (3, "over"), (5, "under")]
    assert notes_of(export) == (
        "assumed: prompts[1]: shown for 8 of its 10 s; a block listed before it covers the rest",
    )


def test_a_hidden_block_is_noted() -> None:
    export = timeline(block(0, 9, "a"), block(3, 5, "b"))
    assert shown(export) == [(0, "a")]
    assert notes_of(export) == ("not carried over: prompts[1] ([3.0, 5.0]): covered by blocks listed before it",)


def test_the_list_need_not_be_in_order_of_time() -> None:
    assert shown(timeline(block(4, 6, "c"), block(0, 2, "a"), block(2, 4, "b"))) == [(0, "a"), (2, "b"), (4, "c")]


@pytest.mark.parametrize("end", [5, 4])
def test_a_block_without_length_is_noted(end: float) -> None:
    export = timeline(block(0, 9, "a"), block(5, end, "b"))
    assert shown(export) == [(0, "a")] and notes_of(export) == (
        f"not carried over: prompts[1] ([5.0, {end}.0]): has no length",
    )


def test_a_block_shorter_than_a_frame_is_noted() -> None:
    export = timeline(block(0, 1, "a"), block(1, 1.01, "b"), block(1.01, 2, "c"), block(2, 2.02, "d"))
    assert shown(export) == [(0, "a"), (1.01, "c")]
    assert [line.split(":")[1] for line in notes_of(export)] == [' prompts[1] ("b")', ' prompts[3] ("d")']


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "5", True, [1]])
def test_a_block_without_valid_times_is_noted(value: Any) -> None:
    export = timeline(block(0, 3, "a"), block(3, value, "b"))
    assert shown(export) == [(0, "a")] and "its start and end must be seconds" in notes_of(export)[0]


def test_a_timeline_that_begins_late_shows_its_first_prompt_from_the_start() -> None:
    export = timeline(block(2, 4, "a"))
    assert plan_of(export).num_frames == 64
    assert notes_of(export) == ("assumed: prompts[0]: it begins at 2 s; its prompt is used from frame 0 on",)


def test_a_block_that_begins_before_zero_is_shown_from_zero() -> None:
    assert shown(timeline(block(-3, 2, "a"), block(2, 4, "b"))) == [(0, "a"), (2, "b")]


def test_a_transition_keeps_its_steps_and_its_method() -> None:
    way = {"transitionSteps": 4, "temporalInterpolationMethod": "slerp"}
    (spec,) = job_of(timeline(block(0, 4), block(4, 9, "b", **way))).chunk_specs
    assert (spec.text, spec.transition_num_steps, spec.transition_method) == ("b", 4, "slerp")
    (spec,) = job_of(timeline(block(0, 4), block(4, 9, "b", **{**way, "transitionSteps": 0}))).chunk_specs
    assert (spec.transition_num_steps, spec.transition_method) == (None, None)


@pytest.mark.parametrize(
    "way", [{"transitionSteps": -1}, {"transitionSteps": 1.5}, {"temporalInterpolationMethod": "cubic"}]
)
def test_an_invalid_transition_is_noted(way: dict[str, Any]) -> None:
    export = timeline(block(0, 4), block(4, 9, "b", **way))
    (spec,) = job_of(export).chunk_specs
    assert spec.transition_num_steps is None and next(iter(way)) in notes_of(export)[0]


def test_weights_are_relative() -> None:
    first, second = block(0, 4, "a", "b"), block(4, 8, "c")
    first["prompts"][1]["weight"] = 300
    job = job_of(timeline(first, second))
    assert [(prompt.text, prompt.weight) for prompt in job.prompt] == [("a", 100), ("b", 300)]
    assert [prompt.weight for prompt in plan_of(timeline(first, second)).chunks[0].conditioning.prompts] == [0.25, 0.75]
    assert job.chunk_specs[0].text == "c"


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ({"text": ""}, "text must not be empty"),
        ({"text": "b", "weight": -1}, "weight must be a number, 0 or more"),
        ("b", "not a map"),
    ],
)
def test_an_invalid_prompt_is_noted(prompt: Any, why: str) -> None:
    export = timeline(block(0, 4, "a"))
    export["prompts"][0]["prompts"].append(prompt)
    assert shown(export) == [(0, "a")] and why in notes_of(export)[0]


def test_weights_that_are_all_zero_become_equal() -> None:
    export = timeline(block(0, 4, "a", "b"))
    for prompt in export["prompts"][0]["prompts"]:
        prompt["weight"] = 0
    assert [prompt.weight for prompt in job_of(export).prompt] == [1, 1] and "equal weights" in notes_of(export)[0]


def test_unknown_keys_are_noted_once() -> None:
    export = timeline(block(0, 4, color="red"), block(4, 8, "b", color="red"), hue=3)
    assert notes_of(export) == (
        'not carried over: prompts[].color ("red"): unknown key, 2 times',
        "not carried over: settings.hue (3): unknown setting",
    )


def test_notes_are_in_the_job_too() -> None:
    result = imported(timeline(block(0, 4), hue="x\n - y: 3\x07"))
    assert result.notes == ('not carried over: settings.hue ("x\\n - y: 3\\u0007"): unknown setting',)
    assert f"# {result.notes[0]}\n" in result.text
