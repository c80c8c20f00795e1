"""LongLive against the reference's own numbers, chunk by chunk, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from scope_batch.core import geometry
from scope_batch.core.engine import EngineRequest
from scope_batch.core.frames import ChunkInputs
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream
from scope_batch.events import silent
from scope_batch.models.modules import BuiltinLora
from scope_batch.pipelines import PIPELINES
from tests.parity.cases import Case, load_case, plan_of
from tests.parity.trim import WITH_FRAMES

LATENTS_TOLERANCE = 1e-4
"""Relative, per chunk (README.md)."""

CASES = [
    "longlive_t2v_prompt_switch",
    "longlive_t2v_nonsquare_nolora",
    "longlive_t2v_blend_linear_transition",
    "longlive_t2v_blend_slerp",
    "longlive_v2v_fixed",
    "longlive_v2v_controller",
    "longlive_v2v_frames_form",
    "longlive_mode_switch",
    "longlive_reset",
    "longlive_steps_change",
]


@pytest.fixture(scope="module")
def engines(parity_models: Path) -> dict[BuiltinLora, CausalEngine]:
    request = EngineRequest(PIPELINES["longlive"], models=str(parity_models), vae_type="lightvae", device="cpu")
    forms: tuple[BuiltinLora, ...] = ("merged", "adapter", "none")
    return {form: load(request, silent, builtin_lora=form) for form in forms}


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    assert got.shape == want.shape
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@contextmanager
def listening_to_the_encoder() -> Iterator[list[np.ndarray]]:
    """What encoder streams make, [F, 16, h, w] each."""
    heard: list[np.ndarray] = []
    encode = EncoderStream.encode

    def listen(self: EncoderStream, pixels: torch.Tensor) -> torch.Tensor:
        latents = encode(self, pixels)
        heard.append(latents[0].numpy())
        return latents

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EncoderStream, "encode", listen)
        yield heard


def replay(engine: CausalEngine, case: Case) -> np.ndarray:
    """Run the case, check every chunk's encoded input and latents, return all frames."""
    plan = plan_of(case)
    frames = []
    with engine.session(plan, silent) as session, listening_to_the_encoder() as encoded:
        for i, chunk in enumerate(plan.chunks):
            made = session.generate(chunk, ChunkInputs(case.pixels(i)))
            error = relative_error(made.latents(), case.arrays[f"latents_{i:02d}"])
            assert error < LATENTS_TOLERANCE, f"chunk {i}: {error:.1e}"
            assert len(made.frames()) == case.expected[i]["pixel_frames"]
            if chunk.mode == "video":
                assert relative_error(encoded.pop(), case.arrays[f"encoded_{i:02d}"]) < LATENTS_TOLERANCE
            frames.append(made.frames())
    return np.concatenate(frames)


def undecoded(self: DecoderStream, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Right count of frames, nothing in them: for comparing latents alone."""
    frames = geometry.frames_of_latents(latents.shape[1], first=not self._started)
    self._started = True
    return torch.zeros(frames, 8, 8, 3, dtype=torch.uint8), torch.tensor(True)


@pytest.mark.parametrize("name", [name for name in CASES if name not in WITH_FRAMES])
def test_latents(name: str, engines: dict[BuiltinLora, CausalEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecoderStream, "decode", undecoded)
    case = load_case(name)
    replay(engines["merged" if case.facts["builtin_lora"] else "none"], case)


def test_latents_with_the_builtin_lora_as_a_side_branch(
    engines: dict[BuiltinLora, CausalEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DecoderStream, "decode", undecoded)
    replay(engines["adapter"], load_case("longlive_t2v_prompt_switch"))


@pytest.mark.parametrize("name", WITH_FRAMES)
def test_latents_and_frames(name: str, engines: dict[BuiltinLora, CausalEngine]) -> None:
    case = load_case(name)
    frames = replay(engines["merged" if case.facts["builtin_lora"] else "none"], case)
    compared = frames[case.arrays["frames_index"]].astype(int)
    difference = np.abs(compared - case.arrays["frames"].astype(int))
    assert (difference == 0).mean() >= 0.999 and difference.max() <= 1
    assert np.abs(frames.mean((1, 2)) / 255 - case.arrays["frame_mean"]).max() < 1e-4
