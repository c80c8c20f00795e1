from __future__ import annotations

import pytest

from scope_batch.errors import JobError
from tests.plan.helpers import marks, plan, texts, video_plan


def landing(entry: dict[str, object], *others: dict[str, object], **fields: object) -> tuple[int, int]:
    landed = plan(entry, *others, **fields).landings
    landing = next(item for item in landed if item.fields == ("seed",))
    return landing.chunk, landing.first_frame


@pytest.mark.parametrize(
    ("place", "chunk"),
    [
        ({"frame": 0}, 0),
        ({"frame": 8}, 0),
        ({"frame": 9}, 1),
        ({"frame": 20}, 1),
        ({"frame": 21}, 2),
        ({"frame": 95}, 8),
        ({"time": 0.55}, 0),
        ({"time": 9 / 16}, 1),
        ({"time": "0:01.3125"}, 2),
        ({"chunk": 2}, 2),
    ],
)
def test_an_entry_acts_in_the_chunk_that_delivers_its_frame(place: dict[str, object], chunk: int) -> None:
    assert landing({**place, "seed": 1}) == (chunk, 0 if chunk == 0 else 12 * chunk - 3)


def test_a_time_that_names_a_frame_does_not_miss_it_by_rounding() -> None:
    assert 2.28 * 25 < 57
    assert landing({"time": 2.28, "seed": 1}, fps=25) == (5, 57)


def test_a_shortened_chunk_still_takes_the_entries_of_its_uncut_length() -> None:
    cut = {"frame": 9, "reset_cache": True}
    assert landing({"frame": 20, "seed": 1}, cut) == (1, 9)  # the cut chunk delivers 9 to 17
    assert landing({"frame": 21, "seed": 1}, cut) == (2, 18)


def test_frames_after_a_cut_count_from_the_shortened_grid() -> None:
    planned = plan({"chunk": 1, "reset_cache": True}, {"frame": 30, "seed": 1})
    assert planned.landings[1].first_frame == 30  # 9 + 9 + 12


def test_the_thirteenth_frame_of_a_video_cut_belongs_to_the_next_chunk() -> None:
    planned = video_plan({"frame": 13, "reset_cache": True}, {"frame": 25, "seed": 1})
    assert (planned.landings[1].chunk, planned.landings[1].first_frame) == (2, 26)


def test_entries_that_share_a_chunk_are_merged() -> None:
    planned = plan({"frame": 22, "text": "B"}, {"frame": 25, "seed": 7})
    assert (texts(planned)[2], planned.chunks[2].seed, planned.warnings) == ("B", 7, ())


def test_of_two_values_for_one_field_the_later_place_wins_with_a_warning() -> None:
    planned = plan({"frame": 26, "seed": 1}, {"frame": 22, "seed": 2})
    assert planned.chunks[2].seed == 1
    assert planned.warnings == (
        "chunk_specs[0] (frame 26) and chunk_specs[1] (frame 22) both act in chunk 2 and set seed: "
        "the later one, frame 26, wins",
    )


def test_a_text_and_prompts_are_the_same_field() -> None:
    planned = plan({"frame": 22, "text": "B"}, {"frame": 25, "prompts": [{"text": "C"}]})
    assert texts(planned)[2] == "C" and len(planned.warnings) == 1


def test_an_entry_by_chunk_acts_at_its_first_frame() -> None:
    planned = plan({"chunk": 2, "seed": 1}, {"frame": 30, "seed": 2})
    assert planned.chunks[2].seed == 2 and len(planned.warnings) == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"chunk": 9}, r"chunk_specs\[0\] \(chunk 9\): there is no such chunk; this job has chunks 0 to 8"),
        ({"frame": 96}, r"chunk_specs\[0\] \(frame 96\): frame 96 is beyond the end; this job has frames 0 to 95"),
        ({"time": 6.0}, r"chunk_specs\[0\] \(time 6 s\): frame 96 is beyond the end"),
    ],
)
def test_an_entry_that_no_chunk_takes_is_refused(entry: dict[str, object], message: str) -> None:
    with pytest.raises(JobError, match=message):
        plan({**entry, "seed": 1})


def test_every_lost_entry_is_named() -> None:
    with pytest.raises(JobError) as caught:
        plan({"chunk": 30, "seed": 1}, {"chunk": 31, "seed": 1})
    assert len(caught.value.problems) == 2


def test_the_last_frame_of_a_video_cut_at_the_end_has_no_chunk_to_act_in() -> None:
    with pytest.raises(JobError, match="no chunk starts after frame 25; allowed: 0 to 24"):
        video_plan({"frame": 13, "reset_cache": True}, {"frame": 25, "seed": 1}, num_frames=26)


def test_an_entry_may_name_a_chunk_that_exists_because_of_cuts() -> None:
    cuts = [{"chunk": k, "reset_cache": True} for k in range(1, 9)]
    assert marks(plan(*cuts, {"chunk": 10, "text": "B"}))[10] == "recache"  # without cuts the last is 8
