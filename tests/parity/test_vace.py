"""VACE against the reference's own numbers, where we follow it, chunk by chunk, in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scope_batch.core.engine import EngineRequest
from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.engine.vace import VaceContext
from scope_batch.engine.vae_stream import DecoderStream
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from tests.parity.cases import Case, load_case, plan_of
from tests.parity.test_longlive import LATENTS_TOLERANCE, relative_error, undecoded
from tests.parity.trim import CONTEXT_CHANNELS, VACE_CASES
from tests.parity.vace_inputs import inputs_of

FLOAT16_TOLERANCE = 1e-3
"""Contexts are stored in float16."""


@pytest.fixture(scope="module")
def request_of_vace(parity_models: Path) -> EngineRequest:
    models = str(parity_models)
    return EngineRequest(PIPELINES["longlive"], models=models, vae_type="lightvae", device="cpu", vace=True)


@pytest.fixture(scope="module")
def engine(request_of_vace: EngineRequest) -> CausalEngine:
    return load(request_of_vace, silent)


@pytest.fixture(scope="module")
def known() -> dict[bytes, torch.Tensor]:
    """Contexts by the control frames that they were built from: encoding takes most of the time, and cases share it."""
    return {}


@pytest.fixture
def contexts(known: dict[bytes, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> dict[int, torch.Tensor]:
    """The context of every chunk of the sessions to come; nothing is decoded in them."""
    built: dict[int, torch.Tensor] = {}
    build, of_frames = VaceContext.build, VaceContext._encode_frames

    def remember(self: VaceContext, chunk: Chunk, inputs: ChunkInputs) -> torch.Tensor:
        built[chunk.index] = build(self, chunk, inputs)
        return built[chunk.index]

    def look_up(self: VaceContext, chunk: Chunk, control: ControlFrames) -> torch.Tensor:
        assert chunk.cut, "a later chunk's context also depends on the chunks before"
        key = control.frames.tobytes() + control.masks.tobytes()
        if key not in known:
            known[key] = of_frames(self, chunk, control)
        return known[key]

    monkeypatch.setattr(VaceContext, "build", remember)
    monkeypatch.setattr(VaceContext, "_encode_frames", look_up)
    monkeypatch.setattr(DecoderStream, "decode", undecoded)
    return built


def replay(engine: CausalEngine, case: Case) -> None:
    """Run the case and check every chunk's latents."""
    plan = plan_of(case)
    with engine.session(plan, silent) as session:
        for chunk, call in zip(plan.chunks, case.facts["calls"], strict=True):
            made = session.generate(chunk, inputs_of(call, case.arrays, chunk))
            error = relative_error(made.latents(), case.arrays[f"latents_{chunk.index:02d}"])
            assert error < LATENTS_TOLERANCE, f"chunk {chunk.index}: {error:.1e}"


@pytest.mark.parametrize("name", VACE_CASES)
def test_latents_and_context(name: str, engine: CausalEngine, contexts: dict[int, torch.Tensor]) -> None:
    case = load_case(name)
    replay(engine, case)
    assert list(contexts) == [0]
    want = case.arrays["vace_context_00"].astype(np.float32)
    assert relative_error(contexts[0][0, CONTEXT_CHANNELS].numpy(), want) < FLOAT16_TOLERANCE


def test_the_builtin_lora_as_a_side_branch_leaves_the_module_alone(
    request_of_vace: EngineRequest, contexts: dict[int, torch.Tensor]
) -> None:
    engine = load(request_of_vace, silent, builtin_lora="adapter")
    assert not any("lora" in name for name, _ in engine.transformer.vace_blocks.named_parameters())
    replay(engine, load_case("vace_depth_scale_0.5"))
    assert list(contexts) == [0]


def test_without_vace_input_nothing_changes(engine: CausalEngine, contexts: dict[int, torch.Tensor]) -> None:
    case = load_case("longlive_reset")
    replay(engine, case)
    assert not contexts
