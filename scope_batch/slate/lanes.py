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


AREA = (34, 62, 84)
"""Between the line and 0."""


class Curves:
    """`tracks` beyond the lanes of the layout are not drawn. `names`: of those that are."""

    def __init__(self, tracks: list[Track], layout: Layout, timeline: Timeline) -> None:
        self._layout, self._timeline = layout, timeline
        self._lanes = list(zip(tracks, layout.lanes, strict=False))
        self.names = frozenset(track.name for track, _ in self._lanes)

    def draw(self, draw: ImageDraw.ImageDraw) -> None:
        """All that stays the same during the render."""
        for track, box in self._lanes:
            draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=PANEL)
            self._steps(draw, track, box)

    def draw_current(self, draw: ImageDraw.ImageDraw, index: int) -> None:
        """Names, and the values of the chunk in hand."""
        face = font(12 * self._layout.unit)
        for track, (left, top, right, _) in self._lanes:
            value, y = track.values[index], top - max(round(3 * self._layout.unit), 1)
            shown = "-" if value is None else decimals(value)
            (name,) = wrap(track.name, face, max((right - left) * 0.8 - face.getlength(shown), 1), 1)
            draw.text((left, y), name, fill=DIM, font=face, anchor="ls")
            draw.text((right, y), shown, fill=INK, font=face, anchor="rs")

    def _steps(self, draw: ImageDraw.ImageDraw, track: Track, box: Box) -> None:
        """A chunk has one value: the curve is steps, joined by uprights, filled down (or up) to 0."""
        _, top, _, bottom = box
        thick = max(round(2 * self._layout.unit), 1)
        tall = max(bottom - top - thick, 0) / (track.high - track.low)
        zero = bottom - thick + round(track.low * tall)
        before: int | None = None
        for value, (left, right) in zip(track.values, self._timeline.spans, strict=True):
            if value is None:
                before = None
                continue
            y, last = zero - round(value * tall), max(right - 1, left)
            draw.rectangle((left, min(y, zero), last, max(y, zero) + thick - 1), fill=AREA)
            draw.rectangle((left, y, last, y + thick - 1), fill=CHANGE)
            if before is not None:
                draw.rectangle((left, min(y, before), left + thick - 1, max(y, before) + thick - 1), fill=CHANGE)
            before = y
