"""Tests that fields are refused which a pipeline cannot honour."""

from __future__ import annotations

import pytest

from scope_batch.job import ChunkSpec, Job, load_text
from scope_batch.plan.capabilities import CAPABILITIES
from scope_batch.plan.settings import RESOLVED_DEFAULTS, default_of
from scope_batch.render.prepare import prepare_job


@pytest.mark.parametrize(
    "field", ["quantization: fp8_e4m3fn", "speed: high", "vae_type: tae", "vae_dtype: float32", "memory_bank: true"]
)
def test_fields_about_models_are_only_noted_for_the_slate(field: str) -> None:
    """So that it draws every job."""
    notes = prepare_job(load_text(f"pipeline_id: slate\nprompt: a\n{field}", name="j")).notes
    assert any(note.startswith(f"j:3:1: {field.split(':')[0]} has no effect: slate has no ") for note in notes)


@pytest.mark.parametrize("field", [capability.field for capability in CAPABILITIES])
def test_a_default_is_that_of_the_schema_unless_the_job_leaves_it_open(field: str) -> None:
    default = (ChunkSpec(chunk=0).model_dump() | Job(prompt="a").model_dump())[field]
    assert default_of(field) == default or (default is None and field in RESOLVED_DEFAULTS)
