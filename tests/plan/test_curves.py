from __future__ import annotations

import random
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.job.schedule import Scheduled
from scope_batch.plan.diagnostics import Diagnostics
from scope_batch.plan.entries import ChunkStart, Entry, EntryQueue, Grid
from scope_batch.plan.schedules import Clock, Curve
from tests.plan.helpers import plan, video_plan
from tests.plan.steering import steered

TEXT = (0, 9, 21, 33, 45)
"""First frames of the chunks of a text job without cuts."""


def curve(written: Any, *, num_frames: int = 57, low: float = -10, high: float = 10) -> Curve:
    schedule = Scheduled(low, high).parse(written)
    return Curve("field", schedule, low, high, Clock(num_frames, Fraction(16), 42), Diagnostics())


def advance_all(planned: Curve, starts: Iterable[int] = TEXT) -> list[bool]:
    """Advance through the chunks; return for each whether its value changes."""
    moves = []
    for index, first_frame in enumerate(starts):
        planned.advance(ChunkStart(index, first_frame, 12 if index else 9, index))
        moves.append(planned.moves)
    return moves


def values(written: Any, starts: Iterable[int] = TEXT, **options: Any) -> list[float]:
    planned = curve(written, **options)
    advance_all(planned, starts)
    result = planned.values()
    assert planned.diagnostics.problems == []
    return [round(value, 9) for value in result]


def problem(written: Any, **options: Any) -> str:
    planned = curve(written, **options)
    advance_all(planned)
    planned.values()
    (line,) = planned.diagnostics.problems
    return line


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (0.5, [0.5] * 5),
        ([1, 2], [1, 2, 2, 2, 2]),
        ({0: 0, 48: 1}, [0, 0.25, 0.5, 0.75, 1]),
        ({21: 1, 33: 3}, [1, 1, 1, 3, 3]),
        ({0: 0, 20: 1, 21: 5, 32: 6}, [0, 1, 6, 6, 6]),
        ({0: 0, 22: 2, 30: 9}, [0, 1, 9, 9, 9]),
        ({0: 0, 44: 0, 45: 1}, [0, 0, 0, 0, 1]),
        ({0: 0, 46: 0, 47: 1}, [0, 0, 0, 0, 1]),
        ({8: 1}, [1] * 5),
        ("0:(0), 48:(1)", [0, 0.25, 0.5, 0.75, 1]),
        ("0:(min(t, 9))", [0, 9, 9, 9, 9]),
        ("0:(chunk), 33:(7), 45:(chunk + 1)", [0, 1, 2, 7, 5]),
        ("max_f - 11:(4), 0:(0)", [0, 1, 2, 3, 4]),
        ("0:(0), max_f/2:(t/10)", [0, 1.05, 2.1, 3.3, 4.5]),
        ("0:(sec*16), 9:(s/42), 45:(1)", [0, 1, 1, 1, 1]),
        ("9:(chunk), 33:(0)", [1, 1, 2, 0, 0]),
    ],
)
def test_the_value_of_every_chunk(written: Any, expected: list[float]) -> None:
    assert values(written) == expected


@pytest.mark.parametrize("num_frames", [45, 48, 57])
def test_a_key_at_the_end_is_reached_in_the_last_chunk(num_frames: int) -> None:
    starts = [start for start in TEXT if start < num_frames]
    planned = values({0: 0, num_frames: 1}, starts, num_frames=num_frames)
    assert planned == pytest.approx([i / (len(starts) - 1) for i in range(len(starts))])


def test_keys_follow_the_real_chunks_not_the_expected_ones() -> None:
    assert values({0: 0, 48: 1}, (0, 9, 18, 27, 36, 45)) == [0, 0.2, 0.4, 0.6, 0.8, 1]


def test_lists_are_read_at_the_slot() -> None:
    planned = curve([1, 2, 3])
    for index, slot in enumerate((0, 0, 2)):
        planned.advance(ChunkStart(index, 12 * index, 12, slot))
    assert planned.values() == (1, 1, 3)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (0.5, [0, 0, 0, 0, 0]),
        ([1, 2, 2, 3], [0, 1, 0, 1, 0]),
        ({0: 0, 33: 1}, [0, 1, 1, 1, 0]),
        ({9: 1, 21: 1, 33: 2}, [0, 0, 0, 1, 0]),
        ({0: 0, 46: 0, 47: 1}, [0, 0, 0, 0, 1]),
        ("0:(floor(chunk/2)), 45:(1)", [0, 0, 1, 0, 0]),
        ("0:(0), 33:(1-t+33)", [0, 1, 1, 1, 1]),
    ],
)
def test_a_change_is_known_at_once(written: Any, expected: list[int]) -> None:
    planned = curve(written, low=-99)
    assert advance_all(planned) == [bool(move) for move in expected]
    result = planned.values()
    assert [a != b for a, b in pairwise(result)] == [bool(move) for move in expected[1:]]


def test_a_value_between_keys_is_not_known_yet() -> None:
    planned = curve({0: 0, 21: 1})
    known = []
    for index, first_frame in enumerate(TEXT):
        planned.advance(ChunkStart(index, first_frame, 12 if index else 9, index))
        known.append(planned.known)
    assert known == [0, None, 1, 1, 1]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({0: 0, 58: 1}, "field: the keyframe 58 is outside the job; allowed: 0 to 56, 57 is the end"),
        ("0:(1), max_f + 2:(2)", "field: the keyframe max_f + 2 = 58 is outside the job; "
         "allowed: 0 to 56, 57 is the end"),
        ("0:(1), 0 - 1:(2)", "field: the keyframe 0 - 1 = -1 is outside the job; "
         "allowed: 0 to 56, 57 is the end"),
        ("0:(1), 1/(s - 42):(2)", "field: the keyframe 1/(s - 42) divides by zero"),
        ("28:(1), max_f/2:(2)", "field: two keyframes at frame 28; one is allowed"),
        ("0:(t)", "field: t is 21 at frame 21 (chunk 2); allowed: -10..10"),
        ("0:(1/t)", "field: 1/t divides by zero at frame 0 (chunk 0)"),
        ("0:(sqrt(20 - t))", "field: sqrt(20 - t) has no value (a root or logarithm of a negative number, perhaps) "
         "at frame 21 (chunk 2)"),
    ],
)  # fmt: skip
def test_the_first_fault_is_reported_with_field_frame_and_chunk(written: Any, message: str) -> None:
    assert problem(written) == message


@pytest.mark.parametrize("written", [{0: 0.2, 25: 0.8}, {0: 0.2, 26: 0.8}, {0: 0.2, 13: 0.4, 26: 0.8}, {26: 0.8}])
def test_a_key_on_the_thirteenth_frame_of_a_final_cut_acts_in_its_chunk(written: dict[int, float]) -> None:
    planned = video_plan({"chunk": 1, "reset_cache": True}, noise_scale=written, num_frames=26)
    assert [c.frames for c in planned.chunks] == [13, 13]
    assert [c.noise_scale for c in planned.chunks] == [written.get(0, 0.8), 0.8]
    assert any("the keys 13 and 26 both act in chunk 1" in note for note in planned.notes) == (13 in written)


def test_keys_inside_a_chunk_and_keys_that_share_one_are_noted() -> None:
    planned = curve({0: 0, 22: 1, 30: 2, 48: 3})
    advance_all(planned)
    planned.values()
    assert planned.diagnostics.notes == [
        "field: the keys 22 and 30 both act in chunk 2: the later, 30, wins",
        "field: keys inside a chunk act from its first frame: 30 -> chunk 2 (frame 21), 48 -> chunk 4 (frame 45)",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_keys_act_in_the_chunks_of_entries_on_any_grid(seed: int) -> None:
    rng = random.Random(seed)
    starts, num_frames = [0], 200
    while (following := starts[-1] + rng.choice((9, 12))) < num_frames:
        starts.append(following)
    frames = sorted(rng.sample(range(starts[-1]), 12))
    planned = curve({frame: index - 6 for index, frame in enumerate(frames)}, num_frames=num_frames)
    queue = EntryQueue([Entry(i, "", "", None, frame) for i, frame in enumerate(frames)], Grid(False, num_frames))
    arrived, taken = {}, {}
    for index, first_frame in enumerate(starts):
        reach = 12 if index else 9
        start = ChunkStart(index, first_frame, reach, index)
        if entries := queue.take(start):
            arrived[index], taken[index] = entries[0].order - 6, entries[-1].order - 6
        planned.advance(start)
    result = planned.values()
    assert {index: result[index] for index in taken} == taken
    assert set(result[: min(taken)]) <= {arrived[min(taken)]}
    assert set(result[max(taken) :]) == {taken[max(taken)]}


def test_the_noise_of_a_video_follows_its_keyframes() -> None:
    planned = video_plan(noise_scale={0: 0.8, 49: 0.4}, num_frames=61)
    assert [c.noise_scale for c in planned.chunks] == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4])
    assert not any(c.noise_controller for c in planned.chunks)
    assert plan(seed=[1, 2], num_frames=33).chunks[2].seed == 2


def test_the_strength_of_vace_follows_its_schedule_but_for_chunks_with_their_own() -> None:
    schedule = {0: 0, 48: 1}
    planned = steered({"chunk": 1, "vace_context_scale": 2}, vace_frames="/c 96.npy", vace_context_scale=schedule)
    assert [c.vace.scale for c in planned.chunks[:6] if c.vace] == [0, 2, 0.5, 0.75, 1, 1]


def test_a_chunks_own_number_replaces_the_scheduled_one() -> None:
    planned = video_plan({"chunk": 1, "noise_scale": 0.1}, noise_scale="0:(0.8), 49:(0.4)", num_frames=61)
    assert [c.noise_scale for c in planned.chunks] == pytest.approx([0.8, 0.1, 0.6, 0.5, 0.4])


def test_a_schedule_in_a_job_without_video_is_refused_unless_it_is_the_default() -> None:
    assert plan(noise_scale="0:(0.7)").notes == ("noise_scale has no effect: there is no input video (input_path)",)
    with pytest.raises(JobError, match="noise_scale: cannot be honoured"):
        plan(noise_scale={0: 0.7, 48: 0.6})


def test_a_keyframe_beyond_the_end_names_the_frames_there_are() -> None:
    with pytest.raises(JobError, match=r"^noise_scale: the keyframe 97 is outside .* 0 to 95, 96 is the end$"):
        video_plan(noise_scale={0: 0.7, 97: 0.6})
