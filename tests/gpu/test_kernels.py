"""The program's own kernels on a CUDA device: as near to float32 as torch's path, and the same bytes in CUDA graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scope_batch.engine import session
from scope_batch.engine.loader import CausalEngine
from scope_batch.events import silent
from tests.gpu.helpers import cuda_engine, frames_sha256, long_plan

pytestmark = pytest.mark.gpu
PLAN = long_plan(5, 96, 160)


def latents(engine: CausalEngine) -> list[np.ndarray]:
    with engine.session(PLAN, silent) as opened:
        return [opened.generate(chunk).latents().copy() for chunk in PLAN.chunks]


def test_float32_differs_from_torch_by_the_order_of_sums(models: Path) -> None:
    made, expected = (latents(cuda_engine(models, dtype="float32", kernels=kernels)) for kernels in ("auto", "off"))
    for one, other in zip(made, expected, strict=True):
        assert np.linalg.norm(one - other) < 1e-5 * np.linalg.norm(other)


def test_bfloat16_is_as_near_to_float32_as_torch(models: Path) -> None:
    exact = latents(cuda_engine(models, dtype="float32", kernels="off"))
    errors = {
        kernels: sum(
            float(np.linalg.norm(one - other) / np.linalg.norm(other))
            for one, other in zip(latents(cuda_engine(models, kernels=kernels)), exact, strict=True)
        )
        for kernels in ("auto", "off")
    }
    assert errors["auto"] <= 1.1 * errors["off"]


def test_replayed_passes_give_the_same_bytes(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, plan = cuda_engine(models), long_plan(12, 96, 160)
    monkeypatch.setattr(session, "GRAPH_CHUNKS", 1)
    replayed = frames_sha256(engine, plan)
    assert replayed == frames_sha256(replace(engine, graphs=False), plan)
