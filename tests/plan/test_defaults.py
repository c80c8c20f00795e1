"""Tests that a job with its default values written out is the same job."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from scope_batch.core.plan import ClipFacts, Plan
from scope_batch.job import Job
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_job, plan_to_dict

CLIP = ClipFacts(width=576, height=320, frames=96, fps=Fraction(30000, 1001), has_audio=True)
TEXT: dict[str, Any] = {"prompt": "A", "num_frames": 40}
VIDEO = TEXT | {"input_path": "/clip.mp4"}
JOBS: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "a default that is written": TEXT | {"seed": 42, "pipeline_id": "longlive"},
    "video": VIDEO,
    "video with a noise scale": VIDEO | {"noise_scale": 0.5},
    "video with a chunk's noise scale": VIDEO | {"chunk_specs": [{"chunk": 1, "noise_scale": 0.5}]},
    "video through VACE": VIDEO | {"vace_use_input_video": True},
    "images": TEXT | {"first_frame_image": "/a.png"},
    "LoRA": TEXT | {"lora_scales": {"/a.safetensors": 0.5}},
    "blend": TEXT | {"prompt": [{"text": "A"}, {"text": "B"}]},
}


def planned(fields: dict[str, Any], pipeline: str) -> Plan:
    return plan_job(Job(**fields), PIPELINES[pipeline], CLIP if "input_path" in fields else None)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("fields", JOBS.values(), ids=JOBS.keys())
def test_written_out_they_plan_the_same(fields: dict[str, Any], pipeline: str) -> None:
    fields = fields | {"pipeline_id": pipeline}
    if not PIPELINES[pipeline].vace and {"first_frame_image", "vace_use_input_video"} & fields.keys():
        pytest.skip("has no VACE")
    plan = planned(fields, pipeline)
    whole = planned(fields | dict(plan.defaults), pipeline)
    before, after = (plan_to_dict(each) for each in (plan, whole))
    assert before | {"notes": None} == after | {"notes": None}


def test_they_hold_the_values_that_decide_the_frames() -> None:
    defaults = dict(planned(TEXT, "longlive").defaults)
    expected = {"pipeline_id": "longlive", "seed": 42, "height": 320, "width": 576, "fps": 16, "vae_type": "wan"}
    assert defaults | expected == defaults and defaults["denoising_steps"] == (1000, 750, 500, 250)
    assert "noise_scale" not in defaults and "num_frames" not in defaults and "input_length" not in defaults


def test_of_a_clip_they_hold_how_it_is_read() -> None:
    defaults = dict(planned(VIDEO, "longlive").defaults)
    expected = {"fps": "30000/1001", "noise_controller": True, "input_length": "loop", "fit": "crop", "audio": "none"}
    assert defaults | expected == defaults
