"""Tests that fields without effect are noted, with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scope_batch.core.plan import Plan
from scope_batch.pipelines import PIPELINES
from tests.plan.helpers import CLIP, plan, video_plan
from tests.plan.steering import steered

KREA = PIPELINES["krea-realtime-video"]


def idle(planned: Plan) -> list[str]:
    return [note for note in planned.notes if "has no effect" in note]


OWN = {"seed": 1, "denoising_steps": [900, 400], "manage_cache": True}


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"manage_cache": False}, "manage_cache has no effect: no change would cut a chunk"),
        ({"cuts": "allow"}, "cuts has no effect: the only cuts are those by reset_cache"),
        ({"chunk_grid": 12}, "chunk_grid has no effect: nothing is placed by chunk"),
        ({"chunk_grid": 12, "seed": [1, 2000]}, "chunk_grid has no effect: slots and chunks have equal numbers here"),
        ({"lora_scales": {"/a.safetensors": [0, 1]}, "lora_merge": "never"},
         "lora_merge has no effect: LoRAs whose scale changes are never merged"),
        ({"lora_scales": {"/a.safetensors": 1}, "lora_merge": "never", "quantization": "fp8_e4m3fn"},
         "lora_merge has no effect: under quantization: fp8_e4m3fn LoRAs stay beside the weights anyway"),
    ],
)  # fmt: skip
def test_a_field_of_a_text_job(fields: dict[str, Any], note: str) -> None:
    assert idle(plan(**fields)) == [note]


@pytest.mark.parametrize("field", ["seed", "denoising_steps"])
def test_a_value_that_every_chunk_replaces(field: str) -> None:
    value = {"seed": 5, "denoising_steps": [800]}[field]
    planned = plan({"chunk": 0, field: OWN[field]}, num_frames=9, **{field: value})
    assert idle(planned) == [f"{field} has no effect: every chunk has its own"]


def test_a_prompt_that_is_never_shown() -> None:
    assert idle(plan({"chunk": 0, "text": "B"})) == ["prompt has no effect: chunk 0 has a prompt of its own"]
    assert idle(plan({"chunk": 1, "text": "B"})) == []


def test_a_bias_without_earlier_frames() -> None:
    (note,) = idle(plan(spec=KREA, num_frames=9, kv_cache_attention_bias=0.5))
    assert note == "kv_cache_attention_bias has no effect: no chunk has earlier frames to attend to"


@pytest.mark.parametrize(("field", "value"), [("fit", "pad"), ("input_length", "hold")])
def test_fit_and_input_length_without_effect_are_noted(field: str, value: str) -> None:
    assert idle(video_plan(**{field: value}))[0].startswith(f"{field} has no effect: ")
    assert idle(video_plan(clip=replace(CLIP, width=500, frames=50), **{field: value})) == []


def test_vace_length_without_effect_is_noted() -> None:
    (note,) = idle(steered(vace_frames="/c 96.npy", vace_length="hold"))
    assert note == "vace_length has no effect: control frames and masks are long enough"
    assert idle(steered(vace_frames="/c 90.npy", vace_length="hold")) == []


def test_control_that_entries_cover_is_noted() -> None:
    notes = idle(steered({"chunk": 0, "vace_frames": "/d 96.npy"}, vace_frames="/c 96.npy"))
    assert notes == ["vace_frames has no effect: vace_frames of entries covers every frame"]


def test_a_lock_without_effect_is_noted() -> None:
    entry = {"chunk": 1, "vace_frames": "/c 12.npy", "vace_temporally_locked": False}
    (note,) = idle(steered(entry))
    assert note.endswith("c 12.npy: vace_temporally_locked: false has no effect, it has as many frames as its chunk")


def test_a_cut_where_the_sequence_starts_anyway() -> None:
    (note,) = idle(plan({"chunk": 0, "reset_cache": True}))
    assert note == "chunk_specs[0] (chunk 0): reset_cache has no effect: chunk 0 starts the sequence anyway"


def test_manage_cache_without_a_possible_cut_is_noted() -> None:
    (note,) = idle(plan({"chunk": 1, "manage_cache": False}))
    assert note == "chunk_specs[0] (chunk 1): manage_cache has no effect: no change would cut the chunk"
    assert idle(plan({"chunk": 1, "manage_cache": False, "denoising_steps": [900, 400]})) == []


def test_a_scale_for_chunks_without_vace_input_is_noted() -> None:
    planned = steered({"chunk": 1, "vace_frames": "/c 12.npy"}, vace_context_scale=[0.2, 0.5])
    assert "vace_context_scale acts in chunk 1 only: the others have no VACE input" in planned.notes


def test_control_of_an_entry_that_runs_beyond_the_end() -> None:
    planned = steered({"chunk": 7, "vace_frames": "/c 30.npy"})
    assert planned.notes == ("chunk_specs[0].vace_frames: c 30.npy has 30 frames, the first 15 are used",)


def test_a_method_that_no_prompts_blend_by() -> None:
    planned = plan(
        {"chunk": 0, "text": "B", "prompt_interpolation_method": "linear"}, prompt_interpolation_method="slerp"
    )
    assert "prompt_interpolation_method has no effect: no prompts are blended with it" in planned.notes
