"""LongLive's kin against the reference's own numbers, chunk by chunk, in float32."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from scope_batch.core.engine import EngineRequest
from scope_batch.engine.loader import load
from scope_batch.engine.vae_stream import DecoderStream
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from tests.parity.cases import load_case, plan_of
from tests.parity.test_longlive import replay, undecoded

CASES = ["sdv2_t2v", "sdv2_v2v", "memflow_t2v", "rewardforcing_t2v", "rewardforcing_v2v"]


@pytest.fixture(scope="session")
def kin_models(parity_models: Path, model_factory: ModuleType) -> Path:
    root: Path = model_factory.make(parity_models, parts=["streamdiffusionv2", "memflow", "rewardforcing"])
    return root


@pytest.mark.parametrize("name", CASES)
def test_latents(name: str, kin_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecoderStream, "decode", undecoded)
    case = load_case(name)
    spec = PIPELINES[plan_of(case).pipeline_id]
    replay(load(EngineRequest(spec, models=str(kin_models), vae_type="lightvae", device="cpu"), silent), case)
