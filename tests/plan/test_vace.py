from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.plan import plan_to_dict
from scope_batch.plan.view.text import sources_of
from tests.plan.helpers import SDV2, marks
from tests.plan.steering import controlled, steered, vace
from tests.plan.test_table import row, shown

SDV2_PLAIN = replace(SDV2, vace=False)
PAUSE = {"chunk": 1, "vace_frames": "/c 12.npy"}, {"chunk": 3, "vace_frames": "/c 24.npy"}


@pytest.mark.parametrize(("frames", "first", "last_delivered"), [(64, 4, 6), (96, 0, 2), (100, 4, 6), (9, 5, 8)])
def test_the_last_image_covers_the_last_delivered_frame(frames: int, first: int, last_delivered: int) -> None:
    chunk = steered(num_frames=frames, last_frame_image="/e.png").chunks[-1]
    (still,) = vace(chunk).stills
    assert (still.first, still.end, chunk.keep - 1) == (first, chunk.frames, last_delivered)
    assert still.first <= last_delivered < still.end


def test_the_first_image_covers_four_frames_and_no_other_chunk_is_steered() -> None:
    planned = steered(first_frame_image="/a.png")
    (still,) = vace(planned.chunks[0]).stills
    assert (str(still.path), still.first, still.end) == ("/a.png", 0, 4)
    assert all(chunk.vace is None for chunk in planned.chunks[1:])


def test_both_images_of_one_chunk_overlap_in_order() -> None:
    chunk = steered({"chunk": 2, "last_frame_image": "/b.png", "first_frame_image": "/a.png"}).chunks[2]
    assert [(str(s.path), s.first, s.end) for s in vace(chunk).stills] == [("/a.png", 0, 4), ("/b.png", 8, 12)]


def test_after_a_cut_the_last_group_counts_from_a_single_frame() -> None:
    chunk = steered({"chunk": 2, "last_frame_image": "/b.png", "reset_cache": True}).chunks[2]
    assert [(s.first, s.end) for s in vace(chunk).stills] == [(5, 9)]


@pytest.mark.parametrize(("frames", "lengths"), [(96, "93 or 105"), (64, "57 or 69"), (5, "9")])
def test_few_frames_before_a_last_image_are_warned_about(frames: int, lengths: str) -> None:
    (warning,) = steered(num_frames=frames, last_frame_image="/e.png").warnings
    assert f"num_frames: {lengths} fills its last chunk" in warning


@pytest.mark.parametrize("frames", [93, 101, 105])
def test_enough_frames_before_a_last_image_are_not(frames: int) -> None:
    assert steered(num_frames=frames, last_frame_image="/e.png").warnings == ()


def test_chunks_that_are_always_short_are_not_warned_about() -> None:
    assert steered({"chunk": 2, "last_frame_image": "/e.png"}, spec=SDV2, num_frames=21).warnings == ()


def test_an_image_of_the_entry_replaces_the_jobs() -> None:
    planned = steered({"chunk": 0, "first_frame_image": "/own.png"}, first_frame_image="/a.png")
    assert str(vace(planned.chunks[0]).stills[0].path) == "/own.png"
    assert "first_frame_image: is not used" in planned.warnings[0]


def test_streams_restart_after_a_pause() -> None:
    planned = steered(*PAUSE)
    assert controlled(planned) == [1, 3, 4]
    assert [vace(planned.chunks[k]).restart_streams for k in (1, 3, 4)] == [True, True, False]
    assert [planned.chunks[k].lead for k in (1, 3, 4)] == [1, 1, 0]


def test_streams_restart_at_a_cut() -> None:
    planned = steered({"chunk": 2, "reset_cache": True}, vace_frames="/c 96.npy")
    assert [vace(chunk).restart_streams for chunk in planned.chunks[:4]] == [True, False, True, False]
    assert planned.chunks[2].lead == 0


def test_a_reference_alone_feeds_no_stream() -> None:
    planned = steered({"chunk": 2, "vace_ref_images": ["/r.png"]}, {"chunk": 3, "vace_frames": "/c 12.npy"})
    assert not vace(planned.chunks[2]).has_frames
    assert vace(planned.chunks[3]).restart_streams


def test_vace_inputs_act_in_their_chunk_only() -> None:
    planned = steered({"chunk": 2, "vace_ref_images": ["/r.png"], "first_frame_image": "/a.png"})
    assert [chunk.index for chunk in planned.chunks if chunk.vace] == [2]


def test_the_jobs_reference_acts_where_nothing_else_does() -> None:
    planned = steered({"chunk": 2, "first_frame_image": "/a.png"}, vace_ref_images=["/r.png"])
    assert [chunk.index for chunk in planned.chunks if vace(chunk).reference is None] == [2]
    assert "acts in chunks 0, 1, 3, 4, 5, 6 and 2 more" in planned.notes[0]


def test_or_in_chunk_0_where_something_acts_everywhere() -> None:
    planned = steered(vace_frames="/c 96.npy", vace_ref_images=["/r.png"])
    assert [chunk.index for chunk in planned.chunks if vace(chunk).reference] == [0]
    assert "acts in chunk 0 only" in planned.notes[0]
    assert "in chunk 0 control and first images act one latent frame late" in planned.notes[1]


@pytest.mark.parametrize("material", [{"vace_frames": "/c 96.npy"}, {"vace_masks": "/m 96.npy"}])
def test_a_new_prompt_with_vace_frames_is_a_cut(material: dict[str, Any]) -> None:
    planned = steered({"chunk": 2, "text": "B"}, **material)
    assert planned.chunks[2].cut_reason == "prompt change with VACE frames"
    assert planned.chunks[2].resets_noise_controller
    assert "a transition or manage_cache: false avoids the cut" in planned.warnings[0]


def test_a_transition_manage_cache_or_a_still_is_none() -> None:
    control = {"vace_frames": "/c 96.npy"}
    assert marks(steered({"chunk": 2, "text": "B", "transition_num_steps": 2}, **control))[2] == "recache"
    assert marks(steered({"chunk": 2, "text": "B"}, **control, manage_cache=False))[2] == "recache"
    assert marks(steered({"chunk": 2, "text": "B", "first_frame_image": "/a.png"}))[2] == "recache"


def test_the_uncut_reach_decides_over_the_cut() -> None:
    late = {"chunk": 3, "vace_frames": "/c 12.npy"}  # from frame 33 on
    assert marks(steered(late, {"chunk": 2, "text": "B"}))[2] == "recache"  # reaches to frame 32
    assert marks(steered({**late, "text": "B"}))[3] == "cut"


def test_the_scale_is_the_entrys_else_the_schedule_s() -> None:
    planned = steered({"chunk": 1, "vace_context_scale": 0.5}, vace_frames="/c 96.npy", vace_context_scale=[2.0])
    assert [vace(chunk).scale for chunk in planned.chunks[:3]] == [2.0, 0.5, 2.0]


def test_a_scale_without_vace_input_is_reported() -> None:
    (warning,) = steered({"chunk": 2, "vace_context_scale": 0.5}, first_frame_image="/a.png").warnings
    assert "there is no VACE input in chunk 2" in warning


def test_a_pipeline_without_vace_refuses_each_field() -> None:
    with pytest.raises(JobError) as caught:
        steered({"chunk": 1, "vace_ref_images": ["/r.png"]}, spec=SDV2_PLAIN, vace_frames="/c 96.npy")
    assert [problem.endswith("one-by-one has no VACE") for problem in caught.value.problems] == [True, True]


def test_json_lists_the_vace_inputs_of_a_chunk() -> None:
    document = plan_to_dict(steered({"chunk": 1, "last_frame_image": "/e.png"}, vace_masks="/m 96.npy"))
    nothing: dict[str, Any] = {"stills": [], "reference": None}
    assert document["chunks"][0]["vace"] == {"sources": ["mask"], **nothing, "scale": 1.0, "fresh": True}
    assert document["chunks"][1]["vace"]["sources"] == ["mask", "last image"]
    assert document["chunks"][1]["vace"]["stills"] == [{"path": "/e.png", "first_frame": 8, "end_frame": 12}]
    (placement,) = document["placements"]
    expected = {"where": "vace_masks", "kind": "masks", "path": "/m 96.npy", "first_frame": 0, "end_frame": 96}
    assert expected.items() <= placement.items() and placement["fill"] == "none"


def test_json_calls_control_frames_frames() -> None:
    document = plan_to_dict(steered(vace_frames="/c 96.npy"))
    assert [placement["kind"] for placement in document["placements"]] == ["frames"]


def test_the_table_lists_them_too() -> None:
    planned = steered({"chunk": 1, "vace_ref_images": ["/r.png"], "vace_context_scale": 0.5}, vace_frames="/c 96.npy")
    text = shown(planned, width=120)
    assert "control+reference 0.50" in text
    assert "vace_frames  c 96.npy  -> frames 0-95" in text


def test_a_long_plan_folds_chunks_with_equal_vace_inputs() -> None:
    text = shown(steered(vace_frames="/c 300.npy", vace_length="end", num_frames=3000), width=120)
    assert "1-25" in text and "26-249" in text and row(text, 250)


def test_a_full_plan_fits_eighty_columns() -> None:
    shown(
        steered(
            {"chunk": 1, "vace_masks": "/m 12.npy", "text": "a dog " * 30, "vace_ref_images": ["/r.png"]},
            {"chunk": 3, "input_video": "/v 13.mp4"},
            vace_frames="/c 96.npy",
            last_frame_image="/e.png",
        )
    )


def test_scales_of_many_idle_chunks_are_one_remark() -> None:
    planned = steered(*({"chunk": k, "vace_context_scale": 1.0} for k in (2, 3)), first_frame_image="/a.png")
    assert planned.warnings == () and "there is no VACE input in chunks 2, 3" in planned.notes[0]


def test_a_scale_acts_in_the_chunk_of_its_slot_that_something_steers() -> None:
    entries = [{"chunk": k, "first_frame_image": "/a.png", "vace_context_scale": 0.5} for k in range(4)]
    planned = steered(*entries, chunk_grid=12, num_frames=48)
    assert [chunk.vace is None for chunk in planned.chunks] == [
        False,
        False,
        False,
        False,
        True,
    ] and not planned.warnings
    (warning,) = steered({**entries[3], "first_frame_image": None}, *entries[:3], chunk_grid=12, num_frames=48).warnings
    assert warning.endswith("vace_context_scale has no effect, there is no VACE input in chunks 3, 4")


def test_a_last_image_that_covers_the_first_is_reported() -> None:
    images = {"first_frame_image": "/a.png", "last_frame_image": "/e.png"}
    assert "last_frame_image covers part of the first image of chunk 0" in steered(**images, num_frames=4).warnings
    assert steered(**images, num_frames=9).warnings == ()


def test_images_keep_their_names_wherever_they_lie() -> None:
    """Tests a last image that begins with its chunk."""
    entry = {"chunk": 1, "first_frame_image": "/a.png", "last_frame_image": "/e.png"}
    assert sources_of(steered(entry, num_frames=11))[1] == ("first image", "last image")


def test_a_chunk_with_room_for_one_image_belongs_to_it_whole() -> None:
    images = {"chunk": 1, "first_frame_image": "/b.png"}, {"chunk": 2, "last_frame_image": "/e.png"}
    planned = steered(*images, spec=SDV2, num_frames=13, first_frame_image="/a.png")
    stills = [still for chunk in planned.chunks for still in vace(chunk).stills]
    assert [(still.name, still.first, still.end) for still in stills] == [
        ("first image", 0, 5),
        ("first image", 0, 4),
        ("last image", 0, 4),
    ]


@pytest.mark.parametrize("index", [0, 1])
def test_and_cannot_take_two(index: int) -> None:
    entry = {"chunk": index, "first_frame_image": "/a.png", "last_frame_image": "/e.png"}
    with pytest.raises(JobError, match=f"both fall in chunk {index}, whose {5 - index} frames are too few"):
        steered(entry, spec=SDV2)
