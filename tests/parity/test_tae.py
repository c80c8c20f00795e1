"""LongLive steered on every chunk, with the tiny auto-encoder, against the reference's own numbers in float32."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from scope_batch.core.engine import EngineRequest
from scope_batch.core.frames import ChunkInputs
from scope_batch.core.plan import Chunk
from scope_batch.engine.loader import load
from scope_batch.engine.vace import VaceContext
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from tests.models.helpers import linked
from tests.parity.cases import load_case, plan_of
from tests.parity.test_longlive import LATENTS_TOLERANCE, relative_error, undecoded
from tests.parity.test_vace import FLOAT16_TOLERANCE
from tests.parity.trim import CONTEXT_CHANNELS, TAE_CASE, TAE_CHANNELS, TAE_CORNER
from tests.parity.vace_inputs import inputs_of

DECODED_CHUNKS = 1
"""Decoding is slow; tests/engine/test_vae_backends.py checks at tiny sizes that chunks continue each other."""


@pytest.fixture
def models(parity_models: Path, tmp_path: Path, model_factory: ModuleType) -> str:
    linked(parity_models, tmp_path / "models")
    return str(model_factory.make(tmp_path / "models", parts=["tae"]))


def test_contexts_latents_and_frames(models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = load_case(TAE_CASE)
    plan, arrays, frames = plan_of(case), case.arrays, []
    build = VaceContext.build

    def compare(self: VaceContext, chunk: Chunk, inputs: ChunkInputs) -> torch.Tensor:
        context = build(self, chunk, inputs)
        want = arrays[f"vace_context_{chunk.index:02d}"].astype(np.float32)
        assert relative_error(context[0, CONTEXT_CHANNELS].numpy(), want) < FLOAT16_TOLERANCE
        return context

    monkeypatch.setattr(VaceContext, "build", compare)
    engine = load(EngineRequest(PIPELINES["longlive"], models, vae_type="tae", device="cpu", vace=True), silent)
    with engine.session(plan, silent) as session:
        for chunk, call in zip(plan.chunks, case.facts["calls"], strict=True):
            if chunk.index == DECODED_CHUNKS:
                monkeypatch.setattr("scope_batch.engine.vae_stream.DecoderStream.decode", undecoded)
            made = session.generate(chunk, inputs_of(call, arrays, chunk))
            want = arrays[f"latents_{chunk.index:02d}"]
            error = relative_error(made.latents()[:, TAE_CHANNELS], want)  # type: ignore[index]
            assert error < LATENTS_TOLERANCE, f"chunk {chunk.index}: {error:.1e}"
            frames.append(made.frames())

    decoded = np.concatenate(frames[:DECODED_CHUNKS])
    assert np.abs(decoded.mean((1, 2)) / 255 - arrays["frame_mean"][: len(decoded)]).max() < 1e-4
    stored = arrays["frames_index"] < len(decoded)
    compared = decoded[arrays["frames_index"][stored]][:, *TAE_CORNER].astype(int)
    difference = np.abs(compared - arrays["frames"][stored].astype(int))
    assert stored.any() and (difference == 0).mean() >= 0.999 and difference.max() <= 1
