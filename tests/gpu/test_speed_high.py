"""`speed: high` on a CUDA device: its errors beside those of `exact`, and the same bytes twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scope_batch.core.engine import LoraRequest
from scope_batch.core.plan import Plan
from scope_batch.engine import session
from scope_batch.engine.loader import CausalEngine
from scope_batch.events import silent
from tests.gpu.helpers import cuda_engine, frames_sha256, latent_errors, long_plan
from tests.parity.cases import load_case
from tests.parity.trim import VACE_CASES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="needs fp8 matrix products"
    ),
]
BOUNDS = {"tiny": (0.07, 2.4), "random": (0.17, 0.9)}
"""Relative error of the latents and mean error of the frames in levels, twice what an H200 gave."""
STEERED = 0.09
"""Relative error of a chunk's latents with side branches or VACE, twice what an H200 gave."""


def rendered(engine: CausalEngine, plan: Plan) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the latents [F, 16, h, w] and frames [T, H, W, 3] of all chunks."""
    latents, frames = [], []
    with engine.session(plan, silent) as opened:
        for chunk in plan.chunks:
            made = opened.generate(chunk)
            latents.append(made.latents().copy())
            frames.append(made.frames().astype(np.int16))
    return np.concatenate(latents), np.concatenate(frames)


@pytest.mark.parametrize(("weights", "vae", "size"), [("tiny", "lightvae", (96, 160)), ("random", "wan", (480, 832))])
def test_errors_against_float32(models: Path, weights: str, vae: str, size: tuple[int, int]) -> None:
    plan, place = long_plan(5, *size), models if weights == "tiny" else Path(weights)
    latents, frames = rendered(cuda_engine(place, vae=vae, dtype="float32", kernels="off"), plan)
    errors = {}
    for speed in ("exact", "high"):
        made_latents, made_frames = rendered(cuda_engine(place, vae=vae, speed=speed), plan)
        error = float(np.linalg.norm(made_latents - latents) / np.linalg.norm(latents))
        errors[speed] = error, float(np.abs(made_frames - frames).mean())
    latents_bound, levels_bound = BOUNDS[weights]
    assert errors["exact"][0] < errors["high"][0] < latents_bound and errors["high"][1] < levels_bound


@pytest.mark.parametrize("name", ["longlive_lora_fixed", "longlive_lora_ramp"])
def test_latents_with_side_branches(models: Path, name: str) -> None:
    case = load_case(name)
    loras = tuple(LoraRequest(models / lora["file"], None) for lora in case.facts["loras"])
    errors = latent_errors(cuda_engine(models, speed="high", loras=loras), case)
    assert max(errors) < STEERED


def test_latents_with_vace(models: Path) -> None:
    errors = latent_errors(cuda_engine(models, speed="high", vace=True), load_case(VACE_CASES[0]))
    assert max(errors) < STEERED


def test_the_same_bytes_twice_and_from_graphs(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, plan = cuda_engine(models, speed="high"), long_plan(12, 96, 160)
    monkeypatch.setattr(session, "GRAPH_CHUNKS", 1)
    replayed = frames_sha256(engine, plan)
    assert replayed == frames_sha256(engine, plan) == frames_sha256(replace(engine, graphs=False), plan)


def test_the_environment_says_so(models: Path) -> None:
    assert cuda_engine(models, speed="high").environment()["speed"] == "high"
    assert "speed" not in cuda_engine(models).environment()
