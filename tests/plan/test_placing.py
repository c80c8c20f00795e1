from __future__ import annotations

from typing import Any

import pytest

from scope_batch.core.timeline import Placement
from scope_batch.errors import JobError
from tests.effort import growth
from tests.plan.steering import controlled, spans, steered


def only(**fields: Any) -> Placement:
    (placement,) = steered(**fields).placements
    return placement


def refusal(*entries: dict[str, Any], **fields: Any) -> str:
    with pytest.raises(JobError) as caught:
        steered(*entries, **fields)
    (problem,) = caught.value.problems
    return problem


def blob(field: str, shape: list[int], offset: int = 0) -> dict[str, Any]:
    return {f"{field}_offset": offset, f"{field}_shape": shape}


@pytest.mark.parametrize(("length", "fill"), [("loop", "loop"), ("hold", "hold"), ("error", "hold")])
def test_the_input_video_covers_the_whole_job(length: str, fill: str) -> None:
    placement = only(input_path="/clip.mp4", input_length=length, input_start=2.5, input_fps=12, fit="pad")
    source, span = placement.source, (placement.first_frame, placement.end_frame)
    assert (source.kind, span, placement.fill, placement.fit) == ("video", (0, 96), fill, "pad")
    assert (source.start_s, source.end_s, source.fps) == (2.5, None, 12)


def test_the_input_video_may_steer_through_vace() -> None:
    planned = steered(input_path="/clip.mp4", vace_use_input_video=True)
    assert planned.placements[0].source.kind == "control"
    assert {chunk.mode for chunk in planned.chunks} == {"text"}
    assert controlled(planned) == list(range(9))


@pytest.mark.parametrize(("length", "end", "fill"), [("hold", 96, "hold"), ("loop", 96, "loop"), ("end", 40, "none")])
def test_short_control_is_continued_or_ends(length: str, end: int, fill: str) -> None:
    placement = only(vace_frames="/c 40.mp4", vace_length=length)
    assert (placement.first_frame, placement.end_frame, placement.fill) == (0, end, fill)


def test_control_that_ends_steers_no_later_chunk() -> None:
    assert controlled(steered(vace_frames="/c 40.mp4", vace_length="end")) == [0, 1, 2, 3]  # chunk 3: frames 33 to 44


def test_short_control_is_refused_with_both_lengths() -> None:
    message = "vace_masks: m 40.mp4 has 40 frames, the job 96 (vace_length: hold, loop or end)"
    assert refusal(vace_frames="/c 96.npy", vace_masks="/m 40.mp4") == message


def test_surplus_control_is_noted() -> None:
    assert "vace_frames: c 120.npy has 120 frames, the first 96 are used" in steered(vace_frames="/c 120.npy").notes


def test_the_continuation_of_short_control_is_noted() -> None:
    (note,) = steered(vace_frames="/c 90.npy", vace_length="loop").notes
    assert note == "vace_frames: c 90.npy has 90 frames, the job 96: it starts over (vace_length: loop)"


def test_control_of_another_shape_is_noted_once() -> None:
    planned = steered({"chunk": 1, "vace_masks": "/m 12.mp4"}, vace_frames="/c 96.mp4", fit="pad")
    assert [note for note in planned.notes if note.startswith("fit: ")] == [
        "fit: pad: vace_frames: c 96.mp4 (and 1 more file): 99x77 has another shape than the output's 64x64: bars fill "
        "the rest"
    ]


def test_an_entrys_control_begins_at_its_chunk_and_continues() -> None:
    planned = steered({"frame": 30, "vace_frames": "/c 20.npy"})
    assert spans(planned) == [("c 20", 21, 41)]
    assert controlled(planned) == [2, 3]
    assert planned.landings[0].fields == ("vace_frames",)


def test_an_array_as_long_as_the_job_is_its_timeline() -> None:
    planned = steered({"chunk": 3, "vace_frames": "/c 96.npy"})
    assert spans(planned) == [("c 96", 0, 96)]
    assert planned.notes == (
        "chunk_specs[0].vace_frames: c 96.npy is as long as the job: it acts from frame 0 on, not from chunk 3",
    )
    assert steered(*({"chunk": k, "vace_frames": "/c 96.npy"} for k in (3, 0))).notes == ()


def test_frames_beyond_the_end_are_left_out() -> None:
    assert spans(steered({"chunk": 8, "vace_frames": "/c 12.npy"})) == [("c 12", 93, 96)]


def test_a_chunks_own_control_is_held_to_its_end() -> None:
    planned = steered({"chunk": 2, "vace_frames": "/c 5.npy", "vace_temporally_locked": False})
    (placement,) = planned.placements
    assert (placement.first_frame, placement.end_frame, placement.fill) == (21, 33, "hold")
    assert planned.notes == ("vace_frames of chunk 2 is shorter than its chunk: its last frame is held",)


def test_a_chunks_own_control_may_not_be_longer() -> None:
    message = refusal({"chunk": 0, "vace_frames": "/c 12.npy", "vace_temporally_locked": False})
    assert "vace_frames: c 12.npy has 12 frames, chunk 0 makes 9 (vace_temporally_locked: true" in message


def test_where_two_entries_overlap_the_later_shows() -> None:
    planned = steered({"chunk": 1, "vace_frames": "/a 24.npy"}, {"chunk": 2, "vace_frames": "/b 12.npy"})
    assert spans(planned) == [("a 24", 9, 33), ("b 12", 21, 33)]
    assert planned.warnings == (
        "chunk_specs[1].vace_frames and chunk_specs[0].vace_frames overlap in frames 21 to 32: the later one is used",
    )


def test_an_entry_over_the_jobs_control_is_no_warning() -> None:
    planned = steered({"chunk": 1, "vace_frames": "/b 12.npy"}, vace_frames="/a 96.npy")
    assert spans(planned) == [("a 96", 0, 96), ("b 12", 9, 21)] and planned.warnings == ()


def test_a_part_of_the_blob_is_material_too() -> None:
    planned = steered({"chunk": 1, **blob("vace_masks", [1, 1, 12, 64, 64], 256)}, data_blob_path="/blob")
    (placement,) = planned.placements
    assert placement.source.part is not None
    assert (placement.source.kind, placement.source.part.offset) == ("masks", 256)
    assert (placement.first_frame, placement.end_frame) == (9, 21)


@pytest.mark.parametrize(
    ("entry", "fields", "message"),
    [
        ({"vace_frames": "/c 12.npy", "vace_masks": "/m 9.npy"}, {}, "vace_masks: m 9.npy has 9 masks for 12 frames"),
        ({"vace_frames": "/s 32x32 12.npy"}, {}, "vace_frames: s 32x32 12.npy is 32x32, the job 64x64"),
        ({"vace_masks": "/s 32x32 12.npy"}, {}, "vace_masks: s 32x32 12.npy is 32x32, the job 64x64"),
        (blob("vace_frames", [1, 1, 48, 32, 32]), {"data_blob_path": "/b"}, "vace_frames_offset: b is 32x32"),
        (blob("input_video", [9, 32, 32, 3]), {"data_blob_path": "/b"}, "input_video_offset: b is 32x32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(entry: dict[str, Any], fields: dict[str, Any], message: str) -> None:
    assert message in refusal({"chunk": 1, **entry}, **fields)


def test_pictures_are_resized() -> None:
    assert steered(vace_frames="/c 96.mp4", fit="stretch").placements[0].fit == "stretch"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vace_context_scale": 0.5}, "vace_context_scale: cannot be honoured, nothing steers through VACE"),
        ({"vace_length": "loop"}, "vace_length: cannot be honoured, the job has no vace_frames or vace_masks"),
        ({"fit": "pad"}, "fit: cannot be honoured, there is no video to fit"),
        ({"fit": "pad", "vace_frames": "/c 96.npy"}, "fit: cannot be honoured, there is no video to fit"),
        (
            {"noise_scale": 0.5, "input_path": "/clip.mp4", "vace_use_input_video": True},
            "noise_scale: cannot be honoured, the input video steers through VACE (vace_use_input_video)",
        ),
    ],
)
def test_a_field_without_effect_is_refused(fields: dict[str, Any], message: str) -> None:
    assert refusal(**fields).startswith(message)


def test_planning_material_takes_work_in_proportion_to_the_chunks() -> None:
    def steer(chunks: int) -> None:
        entries = [{"chunk": k, "vace_frames": "/c 30.npy"} for k in range(0, chunks, 2)]
        planned = steered(*entries, num_frames=12 * chunks)
        assert len(controlled(planned)) == len(planned.chunks)

    assert growth(steer, 400) < 2.1


def test_the_same_array_in_two_entries_is_no_overlap() -> None:
    assert steered(*({"chunk": k, "vace_frames": "/c 96.npy"} for k in (1, 2))).warnings == ()


def test_sizes_are_width_by_height() -> None:
    assert steered({"chunk": 1, "vace_frames": "/s 96x64 12.npy"}, width=96).placements
    assert "is 64x96, the job 96x64" in refusal({"chunk": 1, "vace_frames": "/s 64x96 12.npy"}, width=96)
