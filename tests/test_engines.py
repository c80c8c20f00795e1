from __future__ import annotations

from dataclasses import replace

import pytest

from scope_batch.engines import request_of, serves
from scope_batch.job import Job
from scope_batch.options import RenderOptions
from scope_batch.pipelines import PIPELINES
from scope_batch.prepare import prepare
from scope_batch.session import EngineRequest

LOADED = EngineRequest(PIPELINES["longlive"], low_vram="auto", expected_bytes=8 << 30)


def test_an_engine_that_held_more_serves_what_takes_less() -> None:
    assert serves(LOADED, replace(LOADED, expected_bytes=1 << 30))
    assert not serves(LOADED, replace(LOADED, expected_bytes=9 << 30))


@pytest.mark.parametrize("other", [{"low_vram": "off"}, {"quantization": "fp8_e4m3fn"}])
def test_other_memory_is_another_engine(other: dict[str, str]) -> None:
    assert not serves(LOADED, replace(LOADED, **other))  # type: ignore[arg-type]


def test_the_forecast_goes_with_auto_alone() -> None:
    job = Job(prompt="a", models="tiny", vae_type="lightvae")  # type: ignore[arg-type]
    plan = prepare(job)
    assert plan.memory is not None
    most = max(plan.memory.peak, plan.memory.prompts)
    asked = {dtype: request_of(job, plan, RenderOptions(dtype=dtype)).expected_bytes for dtype in ("auto", "float32")}
    assert asked == {"auto": most, "float32": 2 * most}
    assert request_of(job, plan, RenderOptions(low_vram="on")).expected_bytes == 0
