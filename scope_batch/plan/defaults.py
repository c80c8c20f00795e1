"""Lists the values that a job left to their defaults and that take part in its render."""

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
    """Field -> value, as a job file writes it: the job with these written out asks for the same chunks.

    Fields that have no effect in this job are left out, for written down they would be refused or noted.
    """
    context = context_of(job, settings.spec, facts)
    idle = {capability.field for capability in CAPABILITIES if not capability.honoured(context)}
    kept = {name for name in type(job).model_fields if getattr(job, name) == type(job).model_fields[name].default}
    values = job.model_dump(mode="json", include=kept - idle)
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
    return {name: value for name, value in values.items() if name not in _NO_SETTINGS and value not in (None, [], {})}


_NO_SETTINGS = frozenset(("version", "output", "video", "cuts"))
"""Fields whose default does not affect the frames."""


def _steps(settings: Settings, chunks: Sequence[Chunk]) -> tuple[int, ...] | None:
    """None where text and video chunks each have a list of their own."""
    modes = {chunk.mode for chunk in chunks}
    return settings.denoising_steps[modes.pop()] if len(modes) == 1 else None
