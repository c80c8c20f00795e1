"""Lists the default values that affect the render of a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scope_batch.core.plan import Chunk
from scope_batch.job.schema import DEFAULT_NOISE_SCALE
from scope_batch.plan.capabilities import CAPABILITIES, context_of
from scope_batch.plan.material_fields import Facts
from scope_batch.plan.settings import Settings

if TYPE_CHECKING:
    from scope_batch.job import Job


def defaults_in_force(job: Job, settings: Settings, facts: Facts, chunks: Sequence[Chunk]) -> dict[str, Any]:
    """Return field -> default value, as in a job file. A job with these values set has the same chunks.

    Fields without effect in this job are left out: if they were set, they would be refused or noted.
    """
    context = context_of(job, settings.spec, facts)
    idle = {capability.field for capability in CAPABILITIES if not capability.honoured(context)}
    unset = {name for name in type(job).model_fields if getattr(job, name) == type(job).model_fields[name].default}
    values = job.model_dump(mode="json", include=unset - idle)
    resolved = {
        "height": settings.height,
        "width": settings.width,
        "fps": settings.fps.numerator if settings.fps.denominator == 1 else str(settings.fps),
        "noise_scale": DEFAULT_NOISE_SCALE,
        "noise_controller": settings.noise_controller,
        "kv_cache_attention_bias": settings.spec.attention_bias,
        "denoising_steps": _steps(settings, chunks),
    }
    values |= {name: value for name, value in resolved.items() if name in values}
    return {name: value for name, value in values.items() if name not in _NOT_SETTINGS and value not in (None, [], {})}


_NOT_SETTINGS = frozenset(("version", "output", "video", "cuts"))
"""Fields whose default does not affect the frames."""


def _steps(settings: Settings, chunks: Sequence[Chunk]) -> tuple[int, ...] | None:
    """Return the steps, or None if text and video chunks have different lists."""
    modes = {chunk.mode for chunk in chunks}
    return settings.denoising_steps[modes.pop()] if len(modes) == 1 else None
