"""Remembers how fast renders were on this machine, to tell beforehand about how long one will take."""

from __future__ import annotations

import contextlib
import hashlib
import json

from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Plan
from scope_batch.errors import OutputError
from scope_batch.files.cache import cache_folder, cache_path, read_sealed, write_sealed

USUAL_PIXELS_PER_S = 4 * 832 * 480
"""Taken for a pipeline of which nothing is known: 4 frames of 832x480 per second."""
DRAWN_PIXELS_PER_S = 50 * 832 * 480
"""The same for a pipeline without models."""


def expected_s(plan: Plan, request: EngineRequest) -> float:
    """About how long the chunks of the plan will take, in seconds; loading is not counted."""
    usual = USUAL_PIXELS_PER_S if request.spec.needs_models else DRAWN_PIXELS_PER_S
    speed = usual
    with contextlib.suppress(OutputError, ValueError):
        if (known := read_sealed(cache_path("speed", _key(plan, request)))) is not None:
            speed = json.loads(known)["pixels_per_s"]
    return plan.num_frames * plan.height * plan.width / speed


def remember_speed(plan: Plan, request: EngineRequest, frames: int, seconds: float) -> None:
    """Note that `frames` of the plan have taken so long. A cache that cannot be written is no fault of the render."""
    if frames <= 0 or seconds <= 0:
        return
    note = json.dumps({"pixels_per_s": frames * plan.height * plan.width / seconds})
    with contextlib.suppress(OSError, OutputError):
        write_sealed(cache_folder("speed") / _key(plan, request), note.encode())


def _key(plan: Plan, request: EngineRequest) -> str:
    steps = max(len(chunk.denoising_steps) for chunk in plan.chunks)
    vace = any(chunk.vace is not None for chunk in plan.chunks)
    facts = (request.spec.id, request.models, request.vae_type, request.device, request.dtype, request.low_vram)
    processors = [(ref.id, dict(ref.parameters)) for ref in (*plan.pre_processors, *plan.post_processors)]
    text = repr((*facts, request.quantization, request.speed, steps, vace, *processors))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
