"""Loads the engine that a render needs, and keeps it loaded between renders."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import cast

from scope_batch.core.engine import Engine, EngineRequest, Loader, LoraRequest, PromptedEngine
from scope_batch.core.plan import Plan
from scope_batch.core.registry import foreign
from scope_batch.events import Report
from scope_batch.job import Job
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.processors import PROCESSORS
from scope_batch.processors.chain import Chain
from scope_batch.render.options import DEFAULT_OPTIONS, RenderOptions


class Engines:
    """Keeps the last engine, so that consecutive jobs that need the same one load it once.

    prompts  texts of all jobs, which an engine may encode together.
    """

    def __init__(self, prompts: Sequence[str] = ()) -> None:
        self._prompts = prompts
        self._kept: tuple[EngineRequest, Engine] | None = None

    def get(self, request: EngineRequest, report: Report) -> Engine:
        if self._kept is None or not serves(*self._kept, request):
            if self._kept is not None:
                self._kept = None
                gc.collect()  # its modules and their hooks refer to each other: free the device before the next load
            engine = load_engine(request, report)
            if isinstance(engine, PromptedEngine):
                engine.expect_prompts(self._prompts)
            self._kept = request, engine
        return self._kept[1]


def serves(loaded: EngineRequest, engine: Engine, wanted: EngineRequest) -> bool:
    """Return whether an engine loaded for the request `loaded` can render a job that requests `wanted`.

    An engine with VACE also renders jobs without it. A job that needs more GPU memory needs a new engine, since offload
    and the like are decided when an engine is loaded.
    """
    on_gpu = engine.peak_device_bytes() > 0
    if on_gpu and wanted.expected_bytes > loaded.expected_bytes:
        return False
    return loaded == replace(wanted, vace=loaded.vace or wanted.vace, expected_bytes=loaded.expected_bytes)


def request_of(job: Job, plan: Plan, options: RenderOptions) -> EngineRequest:
    """Return the request with which the engine for `plan` is loaded."""
    models = options.models or (None if job.models is None else str(job.models))
    return EngineRequest(
        spec=KNOWN_PIPELINES.get(job.pipeline_id),
        models=models,
        vae_type=job.vae_type,
        device=options.device,
        dtype=options.dtype,
        vae_dtype=job.vae_dtype,
        noise_device=job.noise_device,
        deterministic=options.deterministic,
        kernels=options.kernels,
        vace=any(chunk.vace is not None for chunk in plan.chunks),
        loras=tuple(
            LoraRequest(lora.path, scale if lora.merged else None)
            for lora, scale in zip(plan.loras, plan.chunks[0].lora_scales, strict=True)
        ),
        quantization=job.quantization,
        speed=job.speed,
        low_vram=options.low_vram,
        expected_bytes=_expected_bytes(plan, options) if options.low_vram == "auto" else 0,
    )


def unused_options(plan: Plan, options: RenderOptions) -> tuple[str, ...]:
    """Return warnings about engine options that have no effect on a pipeline without models."""
    if KNOWN_PIPELINES.get(plan.pipeline_id).needs_models:
        return ()
    refs = (*plan.pre_processors, *plan.post_processors)
    used = ("models", "device") if any(PROCESSORS.get(ref.id).model is not None for ref in refs) else ()
    names = [name for name in ("models", "device", "dtype", "low_vram", "deterministic", "kernels") if name not in used]
    unused = [name for name in names if getattr(options, name) != getattr(DEFAULT_OPTIONS, name)]
    reason = f"has no effect: {plan.pipeline_id} loads no model"
    return tuple(f"--{name.replace('_', '-')} {reason}" for name in unused)


def load_processors(plan: Plan, request: EngineRequest) -> tuple[Chain, Chain]:
    """Return the processors before and after the pipeline, with their models on the engine's device."""
    pre = Chain.load(plan.pre_processors, request.models, request.device)
    return pre, Chain.load(plan.post_processors, request.models, request.device)


def _expected_bytes(plan: Plan, options: RenderOptions) -> int:
    """Return the forecast peak of device memory in bytes, 0 if there is no forecast. The plan's is for bfloat16."""
    if plan.memory is None:
        return 0
    return max(plan.memory.peak, plan.memory.prompts) * (2 if options.dtype == "float32" else 1)


def load_engine(request: EngineRequest, report: Report) -> Engine:
    """Import and load the pipeline's engine, and with it torch. An error of a plugin becomes one line with its name."""
    module, function = request.spec.engine.split(":")
    with foreign(KNOWN_PIPELINES.where(request.spec.id)):
        return cast(Loader, getattr(import_module(module), function))(request, report)
