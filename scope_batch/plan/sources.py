"""What steers each chunk through VACE, in words."""

from __future__ import annotations

from collections.abc import Iterable

from scope_batch.core.plan import Chunk, Plan
from scope_batch.core.timeline import Kind
from scope_batch.plan.coverage import Coverage


def sources_of(plan: Plan) -> list[tuple[str, ...]]:
    """Per chunk: "control", "mask", "first image", "last image", "reference", as far as they are there."""
    control, masks = (_coverage(plan, kind) for kind in ("frames", "masks"))
    return [tuple(_sources(chunk, control, masks)) for chunk in plan.chunks]


def _coverage(plan: Plan, kind: Kind) -> Coverage:
    return Coverage((lies.first_frame, lies.end_frame) for lies in plan.placements if lies.material.kind == kind)


def _sources(chunk: Chunk, control: Coverage, masks: Coverage) -> Iterable[str]:
    span = chunk.first_frame, chunk.last_frame + 1
    covered = control.covers(*span), masks.covers(*span)
    if chunk.vace is None:
        return
    yield from (name for name, there in zip(("control", "mask"), covered, strict=True) if there)
    yield from (still.name for still in chunk.vace.stills)
    if chunk.vace.reference is not None:
        yield "reference"
