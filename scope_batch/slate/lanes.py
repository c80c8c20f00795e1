"""Draws scheduled values over the whole job, one lane each, above the strip and under the same playhead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import ImageDraw

from scope_batch.core.plan import Chunk, Plan
from scope_batch.plan.loras import lora_names
from scope_batch.slate.boxes import Box, Layout
from scope_batch.slate.strip import Timeline
from scope_batch.slate.theme import CHANGE, DIM, INK, PANEL, decimals, font, wrap

Value = float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """A scheduled value. values: one per chunk, None = no value. low, high: range of the curve's height."""

    name: str
    values: tuple[Value, ...]
    low: float
    high: float


def curves_of(plan: Plan) -> list[Curve]:
    """Return LoRA scales, VACE scale and noise scale, in this order, if they vary."""
    readers: list[tuple[str, Callable[[Chunk], Value]]] = [
        *((name, _lora_reader(order)) for order, name in enumerate(short_lora_names(plan))),
        ("vace scale", lambda chunk: None if chunk.vace is None else chunk.vace.scale),
        ("noise", lambda chunk: None if chunk.noise_controller else chunk.noise_scale),
    ]
    return [curve for name, read in readers if (curve := _curve(name, tuple(map(read, plan.chunks))))]


def short_lora_names(plan: Plan) -> tuple[str, ...]:
    """Return the names of LoRAs in the plan's order, without duplicates."""
    return tuple(name.removesuffix(".safetensors") for name in lora_names(plan.loras))


def _lora_reader(order: int) -> Callable[[Chunk], Value]:
    return lambda chunk: chunk.lora_scales[order]


def _curve(name: str, values: tuple[Value, ...]) -> Curve | None:
    different = {value for value in values if value is not None}
    return Curve(name, values, min(0.0, *different), max(1.0, *different)) if len(different) > 1 else None


AREA = (34, 62, 84)
"""Colour of the area between curve and 0."""


class Curves:
    """Draws curves in the lanes of the layout, and no more than these. `names`: names of the drawn curves."""

    def __init__(self, curves: list[Curve], layout: Layout, timeline: Timeline) -> None:
        self._layout, self._timeline = layout, timeline
        self._lanes = list(zip(curves, layout.lanes, strict=False))
        self.names = frozenset(curve.name for curve, _ in self._lanes)

    def draw(self, draw: ImageDraw.ImageDraw) -> None:
        """All that stays the same during the render."""
        for curve, box in self._lanes:
            draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=PANEL)
            self._steps(draw, curve, box)

    def draw_current(self, draw: ImageDraw.ImageDraw, index: int) -> None:
        """Draw the names, and the values of the current chunk."""
        face = font(12 * self._layout.unit)
        for curve, (left, top, right, _) in self._lanes:
            value, y = curve.values[index], top - max(round(3 * self._layout.unit), 1)
            shown = "-" if value is None else decimals(value)
            (name,) = wrap(curve.name, face, max((right - left) * 0.8 - face.getlength(shown), 1), 1)
            draw.text((left, y), name, fill=DIM, font=face, anchor="ls")
            draw.text((right, y), shown, fill=INK, font=face, anchor="rs")

    def _steps(self, draw: ImageDraw.ImageDraw, curve: Curve, box: Box) -> None:
        """Draw the curve as steps, one value per chunk, with the area to 0 filled."""
        _, top, _, bottom = box
        thick = max(round(2 * self._layout.unit), 1)
        tall = max(bottom - top - thick, 0) / (curve.high - curve.low)
        zero = bottom - thick + round(curve.low * tall)
        before: int | None = None
        for value, (left, right) in zip(curve.values, self._timeline.spans, strict=True):
            if value is None:
                before = None
                continue
            y, last = zero - round(value * tall), max(right - 1, left)
            draw.rectangle((left, min(y, zero), last, max(y, zero) + thick - 1), fill=AREA)
            draw.rectangle((left, y, last, y + thick - 1), fill=CHANGE)
            if before is not None:
                draw.rectangle((left, min(y, before), left + thick - 1, max(y, before) + thick - 1), fill=CHANGE)
            before = y
