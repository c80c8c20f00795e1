"""The numbers of a plan that change on the way: what the curves show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scope_batch.core.plan import Chunk, Plan
from scope_batch.plan.loras import lora_names

Value = float | None


@dataclass(frozen=True, slots=True)
class Track:
    """values: one per chunk, None where there is none. low, high: what the curve's height stands for."""

    name: str
    values: tuple[Value, ...]
    low: float
    high: float


def tracks_of(plan: Plan) -> list[Track]:
    """LoRA scales first, then VACE's, then the noise; only those of which there are two different values."""
    readers: list[tuple[str, Callable[[Chunk], Value]]] = [
        *((name, _lora_reader(order)) for order, name in enumerate(short_lora_names(plan))),
        ("vace scale", lambda chunk: None if chunk.vace is None else chunk.vace.scale),
        ("noise", lambda chunk: None if chunk.noise_controller else chunk.noise_scale),
    ]
    return [track for name, read in readers if (track := _track(name, tuple(map(read, plan.chunks))))]


def short_lora_names(plan: Plan) -> tuple[str, ...]:
    """In the plan's order, each once."""
    return tuple(name.removesuffix(".safetensors") for name in lora_names(plan.loras))


def _lora_reader(order: int) -> Callable[[Chunk], Value]:
    return lambda chunk: chunk.lora_scales[order]


def _track(name: str, values: tuple[Value, ...]) -> Track | None:
    there = {value for value in values if value is not None}
    return Track(name, values, min(0.0, *there), max(1.0, *there)) if len(there) > 1 else None
