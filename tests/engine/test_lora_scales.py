"""Checks LoRA scales in sessions: renders do not affect each other, and only changes recompute anything."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scope_batch.core.conditioning import Blend, Prompt
from scope_batch.core.engine import EngineRequest, LoraRequest
from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk, Plan, Vace
from scope_batch.engine import loader as loading
from scope_batch.engine.loader import CausalEngine
from scope_batch.engine.vae_stream import DecoderStream
from scope_batch.errors import JobError
from scope_batch.events import Event, silent
from scope_batch.models.modules import BuiltinLora
from scope_batch.pipelines import PIPELINES
from tests.models.lora_files import pair, write

SPEC = PIPELINES["longlive"]
STYLE, PARTIAL = "lora/style.safetensors", "lora/partial.safetensors"


@pytest.fixture(autouse=True)
def _latents_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def undecoded(self: DecoderStream, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = 4 * latents.shape[1] - (0 if self._started else 3)
        self._started = True
        return torch.zeros(frames, 8, 8, 3, dtype=torch.uint8), torch.tensor(True)

    monkeypatch.setattr(DecoderStream, "decode", undecoded)


def load(
    models: Path, *loras: tuple[str, float | None], builtin: BuiltinLora = "merged", vace: bool = False
) -> CausalEngine:
    requests = tuple(LoraRequest(models / file, scale) for file, scale in loras)
    request = EngineRequest(SPEC, str(models), vae_type="lightvae", device="cpu", loras=requests, vace=vace)
    return loading.load(request, silent, builtin_lora=builtin)


def plan(*scales: tuple[float, ...]) -> Plan:
    """Plan one chunk for each tuple of scales."""
    chunks = tuple(
        Chunk(
            index=i,
            first_frame=12 * i - 3 * bool(i),
            frames=12 if i else 9,
            keep=12 if i else 9,
            latents=3,
            start_latent=3 * i,
            mode="text",
            cut_reason=None if i else "start",
            recache_reason=None,
            conditioning=Blend((Prompt("a cat"),)),
            text_changed=i == 0,
            seed=42,
            denoising_steps=(1000, 250),
            noise_scale=None,
            noise_controller=False,
            lora_scales=now,
            lora_changed=i > 0 and now != scales[i - 1],
        )
        for i, now in enumerate(scales)
    )
    return Plan(SPEC.id, chunks[-1].last_frame + 1, Fraction(16), 32, 32, chunks)


def render(engine: CausalEngine, *scales: tuple[float, ...]) -> np.ndarray:
    """Render a plan with these scales; returns latents [chunks, 3, 16, 4, 4]."""
    planned = plan(*scales)
    with engine.session(planned, silent) as session:
        made = [session.generate(chunk).latents() for chunk in planned.chunks]
    return np.stack([latents for latents in made if latents is not None])


def error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.fixture
def branch(parity_models: Path) -> CausalEngine:
    return load(parity_models, (STYLE, None))


def test_with_without_with(parity_models: Path) -> None:
    first = render(load(parity_models, (STYLE, 0.8)), (0.8,), (0.8,))
    without = render(load(parity_models), (), ())
    assert np.array_equal(render(load(parity_models, (STYLE, 0.8)), (0.8,), (0.8,)), first)
    assert error(without, first) > 1e-2


def test_scale_0_is_no_lora_bit_for_bit(parity_models: Path, branch: CausalEngine) -> None:
    without = render(load(parity_models), (), ())
    assert np.array_equal(render(load(parity_models, (STYLE, 0.0)), (0.0,), (0.0,)), without)
    assert np.array_equal(render(branch, (0.0,), (0.0,)), without)


def test_merged_and_branch_agree(parity_models: Path) -> None:
    scales = (0.8, -0.5)
    forms: list[tuple[float | None, float | None]] = [(0.8, -0.5), (None, -0.5), (0.8, None), (None, None)]
    made = [render(load(parity_models, (STYLE, a), (PARTIAL, b)), scales, scales) for a, b in forms]
    assert max(error(other, made[0]) for other in made[1:]) < 1e-4


def test_side_branches_do_not_change_the_pipelines_own_branch(parity_models: Path) -> None:
    merged, beside = (
        render(load(parity_models, (STYLE, None), builtin=form), (0.3,), (0.9,)) for form in ("merged", "adapter")
    )
    assert error(beside, merged) < 1e-4


def test_sessions_do_not_depend_on_each_other(branch: CausalEngine) -> None:
    first = render(branch, (0.2,), (0.9,))
    render(branch, (1.5,), (-1.0,))
    assert np.array_equal(render(branch, (0.2,), (0.9,)), first)


def test_an_abandoned_session_does_not_affect_the_next_one(branch: CausalEngine) -> None:
    first = render(branch, (0.2,))
    planned = plan((1.5,), (1.5,))
    with branch.session(planned, silent) as session:
        session.generate(planned.chunks[0])
    assert np.array_equal(render(branch, (0.2,)), first)


def test_one_call_for_each_real_change(branch: CausalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], list[float]]] = []
    set_adapters = branch.transformer.set_adapters
    monkeypatch.setattr(
        branch.transformer, "set_adapters", lambda n, w: (calls.append((n, w)), set_adapters(n, w)), raising=False
    )
    render(branch, (0.2,), (0.2,), (0.5,), (0.5,), (0.5,))
    assert calls == [(["lora0_style"], [0.2]), (["lora0_style"], [0.5])]


def test_every_call_lists_every_adapter(parity_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load(parity_models, (STYLE, None), (PARTIAL, 0.5), (PARTIAL, None), builtin="adapter")
    calls: list[Any] = []
    set_adapters = engine.transformer.set_adapters
    monkeypatch.setattr(
        engine.transformer, "set_adapters", lambda n, w: (calls.append((n, w)), set_adapters(n, w)), raising=False
    )
    render(engine, (0.2, 0.5, 1.0), (0.3, 0.5, 1.0))
    names = ["builtin", "lora0_style", "lora2_partial"]
    assert calls == [(names, [1.0, 0.2, 1.0]), (names, [1.0, 0.3, 1.0])]


@pytest.mark.parametrize("target", ["cross_attn.k", "cross_attn.v"])
def test_prompt_is_seen_through_the_new_weights(parity_models: Path, tmp_path: Path, target: str) -> None:
    """Setting the prompt again recomputes its keys; a new scale alone must do the same."""
    file = str(write(tmp_path / "text.safetensors", pair(f"blocks.1.{target}")))
    engine = load(parity_models, (file, None))
    planned = plan((0.0,), (5.0,))
    renewed = replace(planned, chunks=(planned.chunks[0], replace(planned.chunks[1], text_changed=True)))
    made = []
    for each in (planned, renewed):
        with engine.session(each, silent) as session:
            made.append([session.generate(chunk).latents() for chunk in each.chunks][1])
    assert np.array_equal(*made)
    assert error(render(engine, (0.0,), (0.0,))[1], made[0]) > 1e-4


def test_time_is_embedded_through_the_new_weights(parity_models: Path, tmp_path: Path) -> None:
    file = str(write(tmp_path / "time.safetensors", pair("time_projection.1", out=6 * 256)))
    engine = load(parity_models, (file, None))
    assert error(render(engine, (0.0,), (0.0,))[1], render(engine, (0.0,), (2.0,))[1]) > 1e-4


def test_bad_file_is_named_before_the_model_loads(parity_models: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "large.safetensors", pair("blocks.0.self_attn.q", out=5120, inp=5120))
    request = EngineRequest(
        SPEC, str(parity_models), vae_type="lightvae", device="cpu", loras=(LoraRequest(file, 1.0),)
    )
    events: list[Event] = []
    with pytest.raises(JobError, match="that is Wan 14B"):
        loading.load(request, events.append)
    assert not events


def steered(engine: CausalEngine, scale: float) -> np.ndarray:
    """Render two chunks under a gray control, the second with the LoRA at `scale`; returns their latents."""
    planned = plan((0.0,), (scale,))
    made = []
    with engine.session(planned, silent) as session:
        for chunk in planned.chunks:
            gray = np.zeros((chunk.frames, 32, 32, 3), np.float32)
            control = ControlFrames(gray, np.ones((chunk.frames, 32, 32), np.float32), True, True)
            controlled = replace(chunk, vace=Vace(1.0, timeline=True, restart_streams=chunk.cut))
            made.append(session.generate(controlled, ChunkInputs(control=control)).latents())
    return np.stack(made)


def test_vace_blocks_take_part(parity_models: Path, tmp_path: Path) -> None:
    target = "vace_blocks.1.cross_attn.v"  # its keys and values of the prompt must be fresh as well
    file = str(write(tmp_path / "vace.safetensors", pair(target)))
    without = steered(load(parity_models, vace=True), 0.0)
    engine = load(parity_models, (file, None), vace=True)
    first, second = steered(engine, 3.0)
    assert np.array_equal(first, without[0]) and error(second, without[1]) > 1e-4
    assert np.array_equal(steered(engine, 0.0), without)


def test_vace_parts_need_vace(parity_models: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "vace.safetensors", pair("vace_blocks.1.cross_attn.v"))
    with pytest.raises(JobError, match="1 for VACE, which the job does not use"):
        load(parity_models, (str(file), 0.5))
