"""Engines on a CUDA device, and plans and measures for them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from scope_batch.core.conditioning import Blend, Prompt
from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Chunk, Plan
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from tests.parity.cases import Case, plan_of
from tests.parity.vace_inputs import inputs_of

LONGLIVE = PIPELINES["longlive"]


def cuda_engine(models: Path, *, vae: str = "lightvae", pipeline: str = "longlive", **request: Any) -> CausalEngine:
    spec = PIPELINES[pipeline]
    return load(EngineRequest(spec, models=str(models), vae_type=vae, device="cuda", **request), silent)


def long_plan(chunks: int, height: int, width: int) -> Plan:
    """Text to video by LongLive, with a new prompt and a recache in the middle."""
    made, first_frame = [], 0
    for i in range(chunks):
        switch = i == chunks // 2
        frames = LONGLIVE.chunk_frames("text", first=i == 0)
        made.append(
            Chunk(
                index=i,
                first_frame=first_frame,
                frames=frames,
                keep=frames,
                latents=3,
                start_latent=3 * i,
                mode="text",
                cut_reason="start" if i == 0 else None,
                recache_reason="prompt change" if switch else None,
                conditioning=Blend((Prompt("a red robot" if i >= chunks // 2 else "a cat walking"),)),
                text_changed=i == 0 or switch,
                seed=42,
                denoising_steps=LONGLIVE.steps_text,
                noise_scale=None,
                noise_controller=False,
            )
        )
        first_frame += frames
    return Plan("longlive", first_frame, Fraction(16), height, width, tuple(made))


def latent_errors(engine: CausalEngine, case: Case) -> list[float]:
    """Relative error of each chunk's latents against the reference values."""
    plan, errors = plan_of(case), []
    with engine.session(plan, silent) as session:
        for chunk, call in zip(plan.chunks, case.facts["calls"], strict=True):
            inputs = replace(inputs_of(call, case.arrays, chunk), pixels=case.pixels(chunk.index))
            made = session.generate(chunk, inputs).latents()
            want = case.arrays[f"latents_{chunk.index:02d}"]
            errors.append(float(np.linalg.norm(made - want) / np.linalg.norm(want)))
    return errors


def frames_sha256(engine: CausalEngine, plan: Plan) -> str:
    digest = hashlib.sha256()
    with engine.session(plan, silent) as session:
        for made in [session.generate(chunk) for chunk in plan.chunks]:
            digest.update(made.frames().tobytes())
    return digest.hexdigest()
