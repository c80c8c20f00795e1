"""Scheduled values over the whole job, one lane each, above the strip and under the same playhead."""

from __future__ import annotations

from PIL import ImageDraw

from scope_batch.slate.layout import Box, Layout
from scope_batch.slate.theme import CHANGE, DIM, INK, PANEL, font
from scope_batch.slate.timeline import Timeline
from scope_batch.slate.tracks import Track
from scope_batch.slate.words import decimals, wrap

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
