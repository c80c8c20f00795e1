"""LoRAs of the job against the reference's own numbers, merged and beside the weights; every file format alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scope_batch.core.engine import EngineRequest, LoraRequest
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.engine.vae_stream import DecoderStream
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from tests.parity.cases import Case, load_case, plan_of
from tests.parity.test_longlive import relative_error, replay, undecoded

FORMATS = ["alpha", "downup", "kohya", "kohya_noalpha", "diffusers", "bare", "peft"]
SAME_DELTA = 1e-5
"""Relative, between two files that hold the same delta."""


@pytest.fixture(autouse=True)
def _latents_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecoderStream, "decode", undecoded)


def engine_for(models: Path, *loras: tuple[str, float | None]) -> CausalEngine:
    requests = tuple(LoraRequest(models / file, scale) for file, scale in loras)
    return load(
        EngineRequest(PIPELINES["longlive"], str(models), vae_type="lightvae", device="cpu", loras=requests), silent
    )


def engine_of(case: Case, models: Path, *, merged: bool) -> CausalEngine:
    return engine_for(models, *((lora["file"], lora["scale"] if merged else None) for lora in case.facts["loras"]))


def first_chunk(engine: CausalEngine) -> np.ndarray:
    plan = plan_of(load_case("longlive_lora_fixed"))
    with engine.session(plan, silent) as session:
        made = session.generate(plan.chunks[0]).latents()
        assert made is not None
        return made


@pytest.mark.parametrize("merged", [True, False], ids=["merged", "branch"])
def test_one_scale_for_the_whole_job(parity_models: Path, merged: bool) -> None:
    case = load_case("longlive_lora_fixed")
    replay(engine_of(case, parity_models, merged=merged), case)


@pytest.mark.parametrize("name", ["longlive_lora_ramp", "longlive_lora_two_reset"])
def test_scales_that_change(parity_models: Path, name: str) -> None:
    case = load_case(name)
    replay(engine_of(case, parity_models, merged=False), case)


@pytest.fixture(scope="module")
def latents_of_style(parity_models: Path) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DecoderStream, "decode", undecoded)
        return first_chunk(engine_for(parity_models, ("lora/style.safetensors", 0.8)))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_latents(parity_models: Path, latents_of_style: np.ndarray, form: str) -> None:
    engine = engine_for(parity_models, (f"lora/style_{form}.safetensors", 0.8))
    assert relative_error(first_chunk(engine), latents_of_style) < SAME_DELTA
