from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scope_batch.core.plan import LoraUse, Plan
from scope_batch.errors import JobError
from scope_batch.pipelines.builtin import KREA
from scope_batch.plan import plan_to_dict
from tests.plan.helpers import SDV2, marks, plan, video_plan

A, B = "/l/a.safetensors", "/l/b.safetensors"


def scales(planned: Plan) -> list[tuple[float, ...]]:
    return [chunk.lora_scales for chunk in planned.chunks]


def changed(planned: Plan) -> list[int]:
    return [chunk.index for chunk in planned.chunks if chunk.lora_changed]


def problem(*entries: dict[str, Any], **fields: Any) -> str:
    with pytest.raises(JobError) as caught:
        plan(*entries, **fields)
    (line,) = caught.value.problems
    return line


def test_loras_stand_in_the_order_of_the_job_then_of_the_chunks() -> None:
    planned = plan({"chunk": 1, "lora_scales": {"/l/c.safetensors": 1, A: 1}}, lora_scales={B: 1, A: 0.5})
    assert [use.path for use in planned.loras] == [Path(B), Path(A), Path("/l/c.safetensors")]


def test_a_chunks_scale_holds_from_there_on_and_is_0_before_where_only_a_chunk_names_it() -> None:
    planned = plan({"chunk": 1, "lora_scales": {B: 2}}, {"chunk": 3, "lora_scales": {A: 0}}, lora_scales={A: 1})
    assert scales(planned)[:5] == [(1, 0), (1, 2), (1, 2), (0, 2), (0, 2)]
    assert changed(planned) == [1, 3]


@pytest.mark.parametrize("schedule", [[0, 1], {0: 0, 9: 1}, "0:(min(t, 1))"])
def test_of_a_lora_with_a_schedule_a_chunk_replaces_its_own_value_only(schedule: Any) -> None:
    planned = plan({"chunk": 2, "lora_scales": {A: 5}}, lora_scales={A: schedule}, num_frames=45)
    assert scales(planned) == [(0,), (1,), (5,), (1,)]
    assert changed(planned) == [1, 2, 3]


@pytest.mark.parametrize("schedule", [1, [1, 1], {0: 1, 9: 1}, "0:(1)"])
def test_a_schedule_of_one_number_is_that_number(schedule: Any) -> None:
    planned = plan({"chunk": 1, "lora_scales": {A: 2}}, lora_scales={A: schedule}, num_frames=45)
    assert scales(planned) == [(1,), (2,), (2,), (2,)]


def test_a_ramp_over_eight_chunks_cuts_and_recaches_nothing() -> None:
    planned = plan(lora_scales={A: {0: 0, 89: 1}}, num_frames=93)
    assert [round(scale, 6) for (scale,) in scales(planned)] == [round(i / 7, 6) for i in range(8)]
    assert changed(planned) == list(range(1, 8)) and not any(marks(planned)[1:])


def test_a_recache_is_shown_with_its_reason() -> None:
    planned = plan({"chunk": 2, "text": "B"}, lora_scales={A: [0, 0, 1, 2]}, on_lora_change="recache", num_frames=57)
    assert [c.recache_reason for c in planned.chunks] == [
        None,
        None,
        "prompt change and LoRA change",
        "LoRA change",
        None,
    ]
    planned = plan({"chunk": 1, "reset_cache": True}, lora_scales={A: [0, 1]}, on_lora_change="recache")
    assert planned.chunks[1].lora_changed and planned.chunks[1].recache_reason is None
    planned = video_plan(lora_scales={A: [0, 1]}, on_lora_change="recache")
    assert [c.recache_reason for c in planned.chunks[:3]] == [None, "LoRA change", None]


def test_a_change_that_cuts_is_decided_from_left_to_right_and_warned_about() -> None:
    planned = plan(lora_scales={A: {0: 0, 20: 0, 21: 1, 50: 2}}, on_lora_change="cut", num_frames=60)
    assert [c.first_frame for c in planned.chunks] == [0, 9, 21, 30, 39, 48]
    assert marks(planned) == ["cut", "", "cut", "cut", "cut", ""]
    assert changed(planned) == [2, 3, 4]
    assert planned.warnings[0] == (
        "hard cut at chunks 2, 3, 4 (frame 21 on): LoRA change; on_lora_change: keep or recache avoids the cut"
    )


def test_every_cut_of_a_schedule_is_a_change_and_every_change_a_cut() -> None:
    for schedule in ({0: 0, 50: 1, 51: 0}, "0:(0), 30:(chunk % 2), 70:(3)", [1, 1, 0]):
        planned = plan({"frame": 40, "lora_scales": {A: 9}}, lora_scales={A: schedule}, on_lora_change="cut")
        assert changed(planned) == [c.index for c in planned.chunks[1:] if c.cut]


def test_cuts_forbidden_refuse_a_schedule_that_cuts() -> None:
    line = problem(lora_scales={A: [0, 1]}, on_lora_change="cut", cuts="forbid")
    assert line == "cuts: forbid, but there is a hard cut at chunk 1 (frame 9): LoRA change"


@pytest.mark.parametrize(
    ("merge", "merged"), [("auto", [True, False]), ("never", [False, False])]
)  # fmt: skip
def test_one_scale_for_the_whole_job_is_merged(merge: str, merged: list[bool]) -> None:
    planned = plan(lora_scales={A: 1, B: [0, 1]}, lora_merge=merge)
    assert planned.loras == (LoraUse(Path(A), merged[0]), LoraUse(Path(B), merged[1]))


def test_a_changing_scale_cannot_always_be_merged() -> None:
    assert plan(lora_scales={A: 1}, lora_merge="always").loras[0].merged
    assert problem({"chunk": 2, "lora_scales": {A: 0.5}}, lora_scales={A: 1}, lora_merge="always") == (
        "LoRA a.safetensors: lora_merge: always needs one scale for the whole job, and this one changes at chunk 2 "
        "(frame 21); allowed: auto, never"
    )


def test_a_lora_without_effect_is_noted() -> None:
    notes = plan({"chunk": 1, "lora_scales": {B: 0}}, lora_scales={A: 0}).notes
    assert notes == (
        "LoRA a.safetensors: the scale is 0 in every chunk: the LoRA has no effect",
        "LoRA b.safetensors: the scale is 0 in every chunk: the LoRA has no effect",
    )


def test_settings_of_loras_need_one() -> None:
    assert plan(on_lora_change="keep", lora_merge="auto").notes == (
        "on_lora_change has no effect: the job uses no LoRA (lora_scales)",
        "lora_merge has no effect: the job uses no LoRA (lora_scales)",
    )
    assert problem(lora_merge="never") == (
        "lora_merge: cannot be honoured, the job uses no LoRA (lora_scales) (only its default is allowed here: auto)"
    )


def test_on_lora_change_has_no_effect_without_a_change() -> None:
    assert plan(lora_scales={A: 1}, on_lora_change="cut").notes == ("on_lora_change has no effect: no scale changes",)


def test_lists_are_read_by_slot_on_the_protocols_grid() -> None:
    planned = plan(lora_scales={A: [0, 1, 2, 3, 4]}, chunk_grid=12, num_frames=48)
    assert scales(planned) == [(0,), (1,), (2,), (3,), (3,)]
    assert planned.warnings == ("LoRA a.safetensors: 5 values for 4 slots; the last 1 are never used",)


def test_a_scale_of_a_slot_acts_in_all_its_chunks() -> None:
    planned = plan({"chunk": 3, "lora_scales": {A: 9}}, lora_scales={A: [0, 1]}, chunk_grid=12, num_frames=48)
    assert scales(planned) == [(0,), (1,), (1,), (9,), (9,)]


def test_settings_that_contradict_each_other_are_refused() -> None:
    assert problem(lora_scales={A: 1}, on_lora_change="cut", manage_cache=False) == (
        "on_lora_change: cut contradicts manage_cache: false; allowed beside it: keep, recache"
    )
    assert problem(lora_scales={A: 1}, on_lora_change="recache", spec=SDV2) == (
        "on_lora_change: one-by-one never recaches; allowed: keep, cut"
    )
    assert problem(lora_scales={A: 1}, on_lora_change="recache", spec=KREA) == (
        "on_lora_change: krea-realtime-video recomputes its context for every chunk anyway; allowed: keep, cut"
    )


def test_a_chunk_that_manages_no_cache_is_not_cut() -> None:
    planned = plan({"chunk": 1, "manage_cache": False}, lora_scales={A: [0, 1]}, on_lora_change="cut")
    assert not planned.chunks[1].cut and planned.chunks[1].lora_changed


def test_entries_that_share_a_chunk_set_the_scales_of_different_loras() -> None:
    entries = {"frame": 10, "lora_scales": {A: 1}}, {"frame": 12, "lora_scales": {B: 2, A: 3}}
    planned = plan(*entries, num_frames=20)
    assert scales(planned) == [(0, 0), (3, 2)]
    assert planned.warnings == (
        "chunk_specs[1] (frame 12) and chunk_specs[0] (frame 10) both act in chunk 1 and set the scale of "
        "a.safetensors: the later one, frame 12, wins",
    )


def test_two_spellings_of_one_file_are_one_lora(tmp_path: Path) -> None:
    (tmp_path / "real.safetensors").touch()
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "real.safetensors")
    planned = plan(
        {"chunk": 1, "lora_scales": {str(tmp_path / "link.safetensors"): 2}},
        lora_scales={str(tmp_path / "real.safetensors"): 1},
        num_frames=20,
    )
    assert len(planned.loras) == 1 and scales(planned) == [(1,), (2,)]


def test_any_number_of_loras() -> None:
    planned = plan(lora_scales={f"/l/{i}.safetensors": i / 10 for i in range(40)}, num_frames=9)
    assert scales(planned) == [tuple(i / 10 for i in range(40))]


def test_the_document_names_each_lora_by_its_file_or_by_its_path_if_names_are_equal() -> None:
    document = json.loads(json.dumps(plan_to_dict(plan(lora_scales={A: [0, 1], B: 1, "/x/b.safetensors": 1}))))
    assert document["loras"] == [
        {"name": "a.safetensors", "merged": False},
        {"name": B, "merged": True},
        {"name": "/x/b.safetensors", "merged": True},
    ]
    assert document["chunks"][1]["lora_scales"] == {"a.safetensors": 1, B: 1, "/x/b.safetensors": 1}
    assert [chunk["lora_changed"] for chunk in document["chunks"][:3]] == [False, True, False]


def test_under_fp8_loras_stay_side_branches() -> None:
    planned = plan(lora_scales={A: 1}, quantization="fp8_e4m3fn")
    assert [lora.merged for lora in planned.loras] == [False]
    with pytest.raises(JobError, match="lora_merge: always contradicts quantization: fp8_e4m3fn"):
        plan(lora_scales={A: 1}, quantization="fp8_e4m3fn", lora_merge="always")
