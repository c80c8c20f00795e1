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
    lies = only(input_path="/clip.mp4", input_length=length, input_start=2.5, input_fps=12, fit="pad")
    assert (lies.source.kind, lies.first_frame, lies.end_frame, lies.fill, lies.fit) == ("video", 0, 96, fill, "pad")
    assert (lies.source.start_s, lies.source.end_s, lies.source.fps) == (2.5, None, 12)


def test_the_input_video_may_steer_through_vace() -> None:
    made = steered(input_path="/clip.mp4", vace_use_input_video=True)
    assert made.placements[0].source.kind == "frames"
    assert {chunk.mode for chunk in made.chunks} == {"text"}
    assert controlled(made) == list(range(9))


@pytest.mark.parametrize(("length", "end", "fill"), [("hold", 96, "hold"), ("loop", 96, "loop"), ("end", 40, "none")])
def test_short_control_goes_on_or_ends(length: str, end: int, fill: str) -> None:
    lies = only(vace_frames="/c 40.mp4", vace_length=length)
    assert (lies.first_frame, lies.end_frame, lies.fill) == (0, end, fill)


def test_control_that_ends_steers_no_later_chunk() -> None:
    assert controlled(steered(vace_frames="/c 40.mp4", vace_length="end")) == [0, 1, 2, 3]  # chunk 3: frames 33 to 44


def test_short_control_is_refused_with_both_lengths() -> None:
    said = "vace_masks: m 40.mp4 has 40 frames, the job 96 (vace_length: hold, loop or end)"
    assert refusal(vace_frames="/c 96.npy", vace_masks="/m 40.mp4") == said


def test_surplus_control_is_noted() -> None:
    assert "vace_frames: c 120.npy has 120 frames, the first 96 are used" in steered(vace_frames="/c 120.npy").notes


def test_what_follows_short_control_is_noted() -> None:
    (note,) = steered(vace_frames="/c 90.npy", vace_length="loop").notes
    assert note == "vace_frames: c 90.npy has 90 frames, the job 96: it starts over (vace_length: loop)"


def test_control_of_another_shape_is_noted_once() -> None:
    made = steered({"chunk": 1, "vace_masks": "/m 12.mp4"}, vace_frames="/c 96.mp4", fit="pad")
    assert [note for note in made.notes if note.startswith("fit: ")] == [
        "fit: pad: vace_frames: c 96.mp4 (and 1 more file): 99x77 has another shape than the output's 64x64: bars fill "
        "the rest"
    ]


def test_an_entry_s_control_begins_at_its_chunk_and_goes_on() -> None:
    made = steered({"frame": 30, "vace_frames": "/c 20.npy"})
    assert spans(made) == [("c 20", 21, 41)]
    assert controlled(made) == [2, 3]
    assert made.landings[0].fields == ("vace_frames",)


def test_an_array_as_long_as_the_job_is_its_timeline() -> None:
    made = steered({"chunk": 3, "vace_frames": "/c 96.npy"})
    assert spans(made) == [("c 96", 0, 96)]
    assert made.notes == (
        "chunk_specs[0].vace_frames: c 96.npy is as long as the job: it acts from frame 0 on, not from chunk 3",
    )
    assert steered(*({"chunk": k, "vace_frames": "/c 96.npy"} for k in (3, 0))).notes == ()


def test_what_reaches_beyond_the_end_is_left_out() -> None:
    assert spans(steered({"chunk": 8, "vace_frames": "/c 12.npy"})) == [("c 12", 93, 96)]


def test_a_chunk_s_own_control_is_held_to_its_end() -> None:
    made = steered({"chunk": 2, "vace_frames": "/c 5.npy", "vace_temporally_locked": False})
    (lies,) = made.placements
    assert (lies.first_frame, lies.end_frame, lies.fill) == (21, 33, "hold")
    assert made.notes == ("vace_frames of chunk 2 is shorter than its chunk: its last frame is held",)


def test_a_chunk_s_own_control_may_not_be_longer() -> None:
    said = refusal({"chunk": 0, "vace_frames": "/c 12.npy", "vace_temporally_locked": False})
    assert "vace_frames: c 12.npy has 12 frames, chunk 0 makes 9 (vace_temporally_locked: true" in said


def test_where_two_entries_overlap_the_later_shows() -> None:
    made = steered({"chunk": 1, "vace_frames": "/a 24.npy"}, {"chunk": 2, "vace_frames": "/b 12.npy"})
    assert spans(made) == [("a 24", 9, 33), ("b 12", 21, 33)]
    assert made.warnings == (
        "chunk_specs[1].vace_frames and chunk_specs[0].vace_frames lie over each other in frames 21 to 32: "
        "the later place shows",
    )


def test_an_entry_over_the_job_s_control_is_no_accident() -> None:
    made = steered({"chunk": 1, "vace_frames": "/b 12.npy"}, vace_frames="/a 96.npy")
    assert spans(made) == [("a 96", 0, 96), ("b 12", 9, 21)] and made.warnings == ()


def test_a_part_of_the_blob_is_material_too() -> None:
    made = steered({"chunk": 1, **blob("vace_masks", [1, 1, 12, 64, 64], 256)}, data_blob_path="/blob")
    (lies,) = made.placements
    assert lies.source.part is not None
    assert (lies.source.kind, lies.source.part.offset, lies.first_frame, lies.end_frame) == ("masks", 256, 9, 21)


@pytest.mark.parametrize(
    ("entry", "fields", "said"),
    [
        ({"vace_frames": "/c 12.npy", "vace_masks": "/m 9.npy"}, {}, "vace_masks: m 9.npy has 9 masks for 12 frames"),
        ({"vace_frames": "/s 32x32 12.npy"}, {}, "vace_frames: s 32x32 12.npy is 32x32, the job 64x64"),
        ({"vace_masks": "/s 32x32 12.npy"}, {}, "vace_masks: s 32x32 12.npy is 32x32, the job 64x64"),
        (blob("vace_frames", [1, 1, 48, 32, 32]), {"data_blob_path": "/b"}, "vace_frames_offset: b is 32x32"),
        (blob("input_video", [9, 32, 32, 3]), {"data_blob_path": "/b"}, "input_video_offset: b is 32x32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(entry: dict[str, Any], fields: dict[str, Any], said: str) -> None:
    assert said in refusal({"chunk": 1, **entry}, **fields)


def test_pictures_are_resized() -> None:
    assert steered(vace_frames="/c 96.mp4", fit="stretch").placements[0].fit == "stretch"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"vace_context_scale": 0.5}, "vace_context_scale: cannot be honoured, nothing steers through VACE"),
        ({"vace_length": "loop"}, "vace_length: cannot be honoured, there are no vace_frames or vace_masks of the job"),
        ({"fit": "pad"}, "fit: cannot be honoured, there is no video to fit"),
        ({"fit": "pad", "vace_frames": "/c 96.npy"}, "fit: cannot be honoured, there is no video to fit"),
        (
            {"noise_scale": 0.5, "input_path": "/clip.mp4", "vace_use_input_video": True},
            "noise_scale: cannot be honoured, the input video steers through VACE (vace_use_input_video)",
        ),
    ],
)
def test_a_field_without_effect_is_refused(fields: dict[str, Any], said: str) -> None:
    assert refusal(**fields).startswith(said)


def test_planning_material_takes_work_in_proportion_to_the_chunks() -> None:
    def steer(chunks: int) -> None:
        entries = [{"chunk": k, "vace_frames": "/c 30.npy"} for k in range(0, chunks, 2)]
        made = steered(*entries, num_frames=12 * chunks)
        assert len(controlled(made)) == len(made.chunks)

    assert growth(steer, 400) < 2.1


def test_the_same_array_in_two_entries_is_no_overlap() -> None:
    assert steered(*({"chunk": k, "vace_frames": "/c 96.npy"} for k in (1, 2))).warnings == ()


def test_sizes_are_width_by_height() -> None:
    assert steered({"chunk": 1, "vace_frames": "/s 96x64 12.npy"}, width=96).placements
    assert "is 64x96, the job 96x64" in refusal({"chunk": 1, "vace_frames": "/s 64x96 12.npy"}, width=96)
