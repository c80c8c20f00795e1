"""Tests of reusing a loaded engine for another job."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from scope_batch.core.engine import EngineRequest
from scope_batch.events import silent
from scope_batch.job import Job
from scope_batch.pipelines import PIPELINES
from scope_batch.render import engine_pool
from scope_batch.render.engine_pool import Engines, request_of, serves, unused_options
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job

LOADED = EngineRequest(PIPELINES["longlive"], models="tiny", vace=True, low_vram="auto", expected_bytes=100)


@dataclass
class Held:
    bytes: int
    hook: Any = None

    def peak_device_bytes(self) -> int:
        return self.bytes

    def session(self, *_: Any) -> Any:
        raise NotImplementedError


CPU, GPU = Held(0), Held(1)


@pytest.mark.parametrize("engine", [CPU, GPU], ids=["cpu", "gpu"])
def test_less_of_the_same_is_served(engine: Held) -> None:
    assert serves(LOADED, engine, LOADED)
    assert serves(LOADED, engine, replace(LOADED, vace=False, expected_bytes=50))
    assert not serves(replace(LOADED, vace=False), engine, LOADED)
    assert not serves(LOADED, engine, replace(LOADED, vae_type="lightvae"))


def test_more_memory_matters_where_there_is_a_device_that_may_lack_it() -> None:
    more = replace(LOADED, expected_bytes=200)
    assert serves(LOADED, CPU, more) and not serves(LOADED, GPU, more)


@pytest.mark.parametrize("other", [{"low_vram": "off"}, {"quantization": "fp8_e4m3fn"}, {"speed": "high"}])
def test_other_memory_is_another_engine(other: dict[str, str]) -> None:
    assert not serves(LOADED, GPU, replace(LOADED, **other))  # type: ignore[arg-type]


def test_the_forecast_goes_with_auto_alone() -> None:
    job = Job(prompt="a", models="tiny", vae_type="lightvae")  # type: ignore[arg-type]
    plan = prepare_job(job)
    assert plan.memory is not None
    most = max(plan.memory.peak, plan.memory.prompts)
    asked = {dtype: request_of(job, plan, RenderOptions(dtype=dtype)).expected_bytes for dtype in ("auto", "float32")}
    assert asked == {"auto": most, "float32": 2 * most}
    assert request_of(job, plan, RenderOptions(low_vram="on")).expected_bytes == 0


def test_options_without_effect_on_an_engine_without_models_are_warnings() -> None:
    asked = RenderOptions(device="cpu", dtype="float32", low_vram="on", outputs=("a.npy",))
    slate = prepare_job(Job(prompt="a", pipeline_id="slate"))  # type: ignore[arg-type]
    reason = "has no effect: slate loads no model"
    assert unused_options(slate, asked) == (f"--device {reason}", f"--dtype {reason}", f"--low-vram {reason}")
    assert unused_options(replace(slate, pipeline_id="longlive"), asked) == ()


class Prompted(Held):
    """An engine that notes the prompts of later jobs."""

    texts: tuple[str, ...] = ()

    def expect_prompts(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)


def test_an_engine_is_told_the_prompts_of_all_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([Prompted(0), CPU])
    monkeypatch.setattr(engine_pool, "load_engine", lambda *_: next(made))
    engines = Engines(("a cat", "a dog"))
    first = engines.get(LOADED, silent)
    assert isinstance(first, Prompted) and first.texts == ("a cat", "a dog")
    assert engines.get(replace(LOADED, vae_type="tae"), silent) is CPU


def test_an_engine_is_freed_before_another_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[Held]] = []

    def load(*_: Any) -> Held:
        assert all(engine() is None for engine in loaded)
        held = Held(0)
        held.hook = lambda: held  # as modules and their hooks
        loaded.append(weakref.ref(held))
        return held

    monkeypatch.setattr(engine_pool, "load_engine", load)
    engines = Engines()
    for vae in ("wan", "lightvae", "tae"):
        engines.get(replace(LOADED, vae_type=vae), silent)
    assert len(loaded) == 3
