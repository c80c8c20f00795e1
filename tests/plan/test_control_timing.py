"""Tests that control is placed by the rules of its clip, and that differences in speed are warned about in seconds."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import pytest
from rich.console import Console

from scope_batch.core.plan import ClipFacts, Plan
from scope_batch.core.timeline import ClipSource
from scope_batch.core.timing import Timing, picked_frames
from scope_batch.errors import JobError
from scope_batch.job import Job
from scope_batch.plan import plan_to_dict
from scope_batch.plan.view.table import render_plan
from tests.plan.steering import SIZE, plan_of, spans, steered


def with_clip(
    *entries: dict[str, Any], fps: int = 30, frames: int = 60, num_frames: int | str = "input", **fields: Any
) -> Plan:
    """Plan a job with a clip of 60 frames at 30 fps, read according to its input fields."""
    whole = Timing.even(frames, Fraction(fps))
    values = {"prompt": "A", "input_path": "/clip.mp4", "num_frames": num_frames, **SIZE, **fields}
    job = Job(**values, chunk_specs=list(entries))
    rate = None if job.input_fps == "native" else job.input_fps
    picks = picked_frames(whole, name="clip.mp4", fps=rate, start_s=job.input_start, end_s=job.input_end)
    return plan_of(job, clip=ClipFacts(64, 64, len(picks), rate or Fraction(fps), False, whole))


def control(plan: Plan) -> ClipSource:
    return next(placement.source for placement in plan.placements if placement.source.kind != "video")


def picking(plan: Plan) -> tuple[Any, ...]:
    """Return fps, start, end, and the name of the clip whose times are used."""
    planned = control(plan)
    return planned.fps, planned.start_s, planned.end_s, planned.timed_by and planned.timed_by.name


def refusal(plan: Any, **fields: Any) -> str:
    with pytest.raises(JobError) as caught:
        plan(**fields)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("field", ["vace_frames", "vace_masks"])
@pytest.mark.parametrize("name", ["/d 30fps 60.mp4", "/d 60.mp4", "/d 59.npy", "/d 30fps 61.mp4"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input_fps": 15}, (15, None, None)),
        ({"input_start": 1.0}, (None, 1.0, None)),
        ({"input_fps": 10, "input_start": 0.5, "input_end": 1.5}, (10, 0.5, 1.5)),
    ],
)
def test_control_as_long_as_the_clip_takes_the_same_frames(
    field: str, name: str, fields: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    planned = with_clip(**{field: name}, vace_length="hold", **fields)
    assert picking(planned) == (*expected, "clip.mp4")
    assert planned.warnings == ()
    assert any(
        f"{field}: {name[1:]} has as many frames as the input: the same ones are selected" in n for n in planned.notes
    )


def test_control_of_a_clip_that_is_taken_whole_is_taken_whole() -> None:
    assert picking(with_clip(vace_frames="/d 30fps 60.mp4")) == (None, None, None, None)


def test_vace_fields_win_over_the_input_s() -> None:
    fields = {"vace_frames": "/d 30fps 60.mp4", "input_fps": 15, "input_start": 0.5, "vace_length": "hold"}
    assert picking(with_clip(**fields, vace_fps=15))[:3] == (15, 0.5, None)
    assert picking(with_clip(**fields, vace_start=0.2, vace_end=1.6))[:3] == (15, 0.2, 1.6)
    assert picking(with_clip(**fields, vace_start=0))[:3] == (15, None, None)


def test_vace_fields_pick_by_time_without_a_clip() -> None:
    planned = steered(vace_masks="/m 24fps 48.mp4", vace_fps=16, vace_start=0.5, num_frames=24)
    assert picking(planned) == (16, 0.5, None, None)
    assert planned.warnings == () and planned.placements[0].end_frame == 24


def test_control_of_another_rate_than_the_job_is_reported_in_seconds() -> None:
    (warning,) = steered(vace_frames="/d 24fps 96.mp4").warnings
    assert warning == (
        "vace_frames: d 24fps 96.mp4: it has 24 fps, the job 16: frame for frame it runs 1.5x slow, after 96 frames it "
        "is 2.00 s behind (vace_fps: 16 picks its frames by time)"
    )
    (warning,) = steered(vace_masks="/d 8fps 96.mp4").warnings
    assert "it has 8 fps, the job 16: frame for frame it runs 2x fast, after 96 frames it is 6.00 s ahead" in warning


@pytest.mark.parametrize("fields", [{"fps": 24}, {"vace_fps": 16, "vace_length": "hold"}])
def test_control_in_step_with_the_job_is_not(fields: dict[str, Any]) -> None:
    assert steered(vace_frames="/d 24fps 96.mp4", **fields).warnings == ()


def test_nor_control_that_states_no_rate() -> None:
    assert steered(vace_frames="/d 96.npy", fps=24).warnings == ()


def test_control_of_another_rate_than_the_clip_is_reported_with_both_rates() -> None:
    (warning,) = with_clip(vace_frames="/d 24fps 72.mp4").warnings
    assert "it has 24 fps, the input 30: frame for frame it runs 1.25x fast, after 60 frames it is 0.50 s" in warning
    (warning,) = with_clip(vace_frames="/d 30fps 60.mp4", input_fps=15, vace_fps=30).warnings
    assert "it is read at 30 fps, the input 15" in warning and "2x slow" in warning
    assert with_clip(vace_frames="/d 24fps 72.mp4", vace_fps=30).warnings == ()


def test_as_many_frames_at_another_rate_follow_the_clip_with_a_warning() -> None:
    planned = with_clip(vace_frames="/d 24fps 60.mp4", input_start=1.0)
    assert picking(planned) == (None, 1.0, None, "clip.mp4")
    (warning,) = planned.warnings
    assert "as many frames as the input but 24 fps, the input 30, which is 0.50 s apart at the end" in warning
    assert with_clip(vace_frames="/d 24fps 60.mp4", input_start=1.0, vace_fps="input").warnings == ()


def test_control_that_fits_neither_the_file_nor_the_job_is_reported() -> None:
    (warning,) = with_clip(vace_frames="/d 45.npy", input_start=1.0).warnings
    assert "has 45 frames, the input 60 in its file, of which 30 are read from 1 s on" in warning
    assert "1.00 s apart" in warning
    for in_step in ("/d 30.npy", "/d 30fps 30.mp4"):
        assert with_clip(vace_frames=in_step, input_start=1.0).warnings == ()


def test_a_missing_length_names_the_rates() -> None:
    message = refusal(with_clip, vace_frames="/d 15fps 30.mp4")
    assert message == (
        "vace_frames: d 15fps 30.mp4 has 30 frames, the job 60 (vace_length: hold, loop or end; it has 15 fps, the "
        "input 30: vace_fps: 30 picks its frames by time)"
    )
    assert with_clip(vace_frames="/d 15fps 30.mp4", vace_fps=30).warnings == ()


def test_the_control_of_an_entry_is_picked_by_rate_alone() -> None:
    planned = with_clip({"chunk": 2, "vace_frames": "/d 60fps 24.mp4"}, vace_fps=30, input_start=0.5)
    assert picking(planned) == (30, None, None, None)
    assert spans(planned)[-1] == ("d 60fps 24", 25, 37)


def test_the_entry_whose_control_is_the_clips_is_the_whole_timeline() -> None:
    planned = with_clip({"chunk": 1, "vace_frames": "/d 30fps 60.mp4"}, input_start=1.0)
    assert picking(planned) == (None, 1.0, None, "clip.mp4") and spans(planned)[-1] == ("d 30fps 60", 0, 30)


def test_entries_with_the_same_difference_in_speed_are_one_warning() -> None:
    entries = ({"chunk": k, "vace_frames": f"/{k} 24fps 12.mp4"} for k in (1, 3, 5))
    (warning,) = steered(*entries).warnings
    assert warning.startswith(
        "chunk_specs[0].vace_frames: 1 24fps 12.mp4 (and 2 more files): it has 24 fps, the job 16"
    )


def test_the_pace_of_an_entrys_own_video_is_noted() -> None:
    entries = ({"chunk": k, "input_video": f"/{k} 24fps 12.mp4"} for k in (1, 3))
    (note,) = [note for note in steered(*entries).notes if "plays" in note]
    assert note.endswith("1 24fps 12.mp4 (and 1 more clip) has 24 fps, the output 16: it plays slower")


def test_input_as_a_rate_needs_as_many_frames() -> None:
    message = refusal(with_clip, vace_frames="/d 45.npy", vace_fps="input", vace_length="hold")
    assert "has 45 frames, the input's file 60: vace_fps: input takes frames that have the same number" in message


def test_a_range_outside_the_control_is_refused() -> None:
    message = refusal(steered, vace_frames="/d 16fps 96.mp4", vace_start=7, vace_length="hold")
    assert message == "vace_frames: d 16fps 96.mp4: vace_start 7 s is outside the clip: the clip is 6.000 s long"


@pytest.mark.parametrize("field", ["vace_frames", "vace_masks"])
def test_a_still_is_held(field: str) -> None:
    planned = steered(**{field: "/m.png"})
    assert [(placement.first_frame, placement.end_frame, placement.fill) for placement in planned.placements] == [
        (0, 96, "hold")
    ]
    assert planned.warnings == ()


def test_a_still_of_an_entry_holds_to_the_end_under_later_control() -> None:
    still, video = {"chunk": 2, "vace_masks": "/m.png"}, {"chunk": 4, "vace_masks": "/v 16fps 12.mp4"}
    planned = steered(still, video)
    assert spans(planned) == [("m", 21, 96), ("v 16fps 12", 45, 57)] and planned.warnings == ()


def test_a_still_mask_fits_control_of_any_length() -> None:
    both = {"chunk": 1, "vace_frames": "/d 16fps 24.mp4", "vace_masks": "/m.png"}
    assert spans(steered(both)) == [("d 16fps 24", 9, 33), ("m", 9, 96)]


@pytest.mark.parametrize("field", ["vace_fps", "vace_start", "vace_end"])
def test_picking_by_time_without_control_that_moves_is_refused(field: str) -> None:
    assert "no vace_frames or vace_masks with more than one frame" in refusal(steered, **{field: 2})
    assert "with more than one frame" in refusal(steered, vace_masks="/m.png", **{field: 2})


def test_the_plan_shows_the_selected_frames() -> None:
    planned = steered(vace_frames="/d 24fps 96.mp4", vace_fps=16, vace_start=0.5, vace_end=2, vace_length="hold")
    (placement,) = plan_to_dict(planned)["placements"]
    assert [placement[key] for key in ("fps_exact", "start_s", "end_s", "timed_by")] == ["16", 0.5, 2, None]
    console = Console(width=200, file=io.StringIO())
    console.print(render_plan(planned))
    assert "-> frames 0-95, held if short, 16 a second from 0:00.50 to 0:02.00" in console.file.getvalue()
