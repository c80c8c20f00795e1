"""Tests `chunk_grid: 12`, the chunk numbers of the HTTP protocol."""

from __future__ import annotations

from typing import Any

import pytest

from scope_batch.core.plan import Plan
from scope_batch.errors import JobError
from tests.plan.helpers import SDV2, texts
from tests.plan.steering import controlled, spans, steered


def slots(*entries: dict[str, Any], **fields: Any) -> Plan:
    return steered(*entries, chunk_grid=12, **fields)


def seeds(count: int) -> list[dict[str, Any]]:
    return [{"chunk": slot, "seed": slot} for slot in range(count)]


@pytest.mark.parametrize(
    ("frames", "taken"), [(48, [0, 1, 2, 3, 3]), (96, [0, 1, 2, 3, 4, 5, 6, 7, 7]), (12, [0, 0]), (9, [0])]
)
def test_chunks_take_the_slot_that_they_begin_in(frames: int, taken: list[int]) -> None:
    planned = slots(*seeds(max(taken) + 1), num_frames=frames)
    assert [chunk.seed for chunk in planned.chunks] == taken
    assert [landing.chunk for landing in planned.landings] == [taken.index(slot) for slot in sorted(set(taken))]


def test_lists_are_read_at_the_slot() -> None:
    assert [chunk.seed for chunk in slots(seed=[5, 6, 7, 8], num_frames=48).chunks] == [5, 6, 7, 8, 8]


def test_of_two_chunks_in_a_slot_only_the_first_gets_the_cut_and_prompt() -> None:
    planned = slots({"chunk": 1, "reset_cache": True}, {"chunk": 2, "reset_cache": True, "text": "B", "seed": 9})
    assert [chunk.first_frame for chunk in planned.chunks[:5]] == [0, 9, 18, 27, 39]
    assert [chunk.cut for chunk in planned.chunks[:4]] == [True, True, True, False]
    assert texts(planned)[:4] == ["A", "A", "B", "B"]
    assert [chunk.seed for chunk in planned.chunks[:5]] == [42, 42, 9, 9, 42]
    assert len(planned.landings) == 2


def test_images_act_once_in_a_slot() -> None:
    planned = slots({"chunk": 1, "first_frame_image": "/a.png"}, spec=SDV2, num_frames=37)
    assert [chunk.first_frame for chunk in planned.chunks if chunk.vace] == [9]


def test_short_chunks_share_values_and_schedules_of_a_slot() -> None:
    planned = slots(*seeds(2), spec=SDV2, num_frames=20)
    assert [(c.first_frame, c.seed) for c in planned.chunks] == [(0, 0), (5, 0), (9, 1), (13, 1), (17, 1)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"chunk": 8}, r"\(chunk 8\): there is no such slot; this job has slots 0 to 7"),
        ({"frame": 96}, "frame 96 is beyond the end"),
    ],
)
def test_a_slot_beyond_the_end_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        slots({**entry, "seed": 1})


def test_a_slot_that_cuts_leave_without_a_chunk_is_refused() -> None:
    frames = [{"frame": 13 * k, "reset_cache": True} for k in range(1, 8)]
    with pytest.raises(JobError, match="no chunk begins near slot 6"):
        slots({"chunk": 6, "seed": 1}, *frames, input_path="/clip.mp4")


def test_arrays_of_slots_begin_at_multiples_of_twelve() -> None:
    planned = slots({"chunk": 1, "vace_frames": "/a 12.npy"}, {"chunk": 3, "vace_frames": "/b 12.npy"})
    assert spans(planned) == [("a 12", 12, 24), ("b 12", 36, 48)]
    assert controlled(planned) == [1, 2, 3, 4]  # frames 9 to 20, 21 to 32, 33 to 44, 45 to 56


def test_arrays_of_chunk_lengths_are_used_chunk_by_chunk() -> None:
    planned = slots({"chunk": 0, "vace_frames": "/a 9.npy"}, {"chunk": 1, "vace_frames": "/b 12.npy"})
    assert spans(planned) == [("a 9", 0, 9), ("b 12", 9, 21)]


def test_an_array_as_long_as_the_job_is_its_timeline_in_any_slot() -> None:
    assert spans(slots({"chunk": 2, "vace_frames": "/a 96.npy"})) == [("a 96", 0, 96)]


def test_arrays_longer_than_a_slot_overlap() -> None:
    planned = slots({"chunk": 0, "vace_frames": "/a 13.npy"}, {"chunk": 1, "vace_frames": "/b 12.npy"})
    assert "overlap in frames 12 to 12: the later one is used" in planned.warnings[0]


def test_unlocked_arrays_belong_to_the_first_chunk_of_their_slot() -> None:
    planned = slots({"chunk": 2, "vace_frames": "/a 12.npy", "vace_temporally_locked": False})
    assert spans(planned) == [("a 12", 21, 33)]


def test_input_video_of_slots_sets_their_chunks_to_video_mode() -> None:
    planned = slots(*({"chunk": k, "input_video": f"/v{k} 12.mp4"} for k in (0, 1, 2)), num_frames=46)
    assert spans(planned) == [("v0 12", 0, 12), ("v1 12", 12, 24), ("v2 12", 24, 36)]
    assert [(c.first_frame, c.mode) for c in planned.chunks] == [
        (0, "video"),
        (13, "video"),
        (25, "video"),
        (37, "text"),
    ]


def test_input_video_of_chunk_lengths_is_used_chunk_by_chunk() -> None:
    planned = slots(*({"chunk": k, "input_video": f"/v{k} {n}.mp4"} for k, n in ((0, 13), (1, 12))), num_frames=40)
    assert spans(planned) == [("v0 13", 0, 13), ("v1 12", 13, 25)]


def test_input_video_longer_than_its_slot_is_refused() -> None:
    with pytest.raises(JobError, match=r"input_video: v 20\.mp4 has 20 frames, a slot 12"):
        slots({"chunk": 1, "input_video": "/v 20.mp4"})


def test_input_video_that_ends_before_its_chunk_begins_is_refused() -> None:
    video = {"chunk": 0, "input_video": "/v 12.mp4"}, {"chunk": 1, "input_video": "/v 1.mp4"}
    with pytest.raises(JobError, match="input_video: has no frames for chunk 1"):
        slots(*video)  # frame 12, and chunk 1 begins at 13


def test_a_clip_of_chunk_length_sets_one_chunk_of_its_slot_to_video_mode() -> None:
    planned = slots({"chunk": 0, "input_video": "/v 5.mp4"}, spec=SDV2, num_frames=10)
    assert [(chunk.first_frame, chunk.mode) for chunk in planned.chunks] == [(0, "video"), (5, "text")]


def test_an_unlocked_array_does_not_affect_the_others() -> None:
    unlocked = {"chunk": 0, "vace_frames": "/a 9.npy", "vace_temporally_locked": False}
    assert spans(slots(unlocked, {"chunk": 1, "vace_frames": "/b 12.npy"})) == [("a 9", 0, 9), ("b 12", 12, 24)]


def test_lists_are_read_at_the_slot_by_short_chunks() -> None:
    assert [c.seed for c in slots(seed=[5, 6, 7], spec=SDV2, num_frames=20).chunks] == [5, 5, 6, 6, 6]


def test_a_slot_begun_counts() -> None:
    assert slots({"chunk": 4, "seed": 1}, num_frames=52).landings[0].first_frame == 45
    with pytest.raises(JobError, match="slots 0 to 4"):
        slots({"chunk": 5, "seed": 1}, num_frames=52)
