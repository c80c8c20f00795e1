"""Draws the timeline strip of the whole job: prompts as colours, cuts and recaches as marks."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import ImageDraw

from scope_batch.core.conditioning import Prompt
from scope_batch.core.plan import Plan
from scope_batch.slate.boxes import Layout
from scope_batch.slate.sprites import Picture
from scope_batch.slate.theme import CHANGE, CUT, DIM, INK, PANEL, RECACHE, Color, font, mixed, prompt_color

SHADE = 0.62
"""Brightness of a prompt's colour outside the current chunk."""
SEAM_FROM = 4
"""Width in pixels from which chunks are separated by a seam."""


class Timeline:
    """Maps frames to positions and prompts to colours. `spans`: left and right of each chunk in pixels."""

    def __init__(self, plan: Plan, shares: Sequence[Sequence[Prompt]], layout: Layout) -> None:
        self._plan, self._layout = plan, layout
        self._left, self._top, self._right, self._bottom = layout.strip
        self.color_of: dict[str, Color] = {}
        for prompts in shares:
            for prompt in prompts:
                self.color_of.setdefault(prompt.text, prompt_color(len(self.color_of)))
        self.spans = [(self.x(c.first_frame), self.x(c.first_frame + c.keep)) for c in plan.chunks]
        self._colors = [mixed([(self.color_of[p.text], p.weight) for p in prompts]) for prompts in shares]

    def x(self, frame: float) -> int:
        share = min(frame / self._plan.num_frames, 1.0)
        return self._left + round(share * (self._right - self._left))

    def draw(self, draw: ImageDraw.ImageDraw) -> None:
        """Draw everything that is constant during the render."""
        draw.rectangle(self._box(self._left, self._right), fill=PANEL)
        for chunk in self._plan.chunks:
            self._block(draw, chunk.index, SHADE)
        for chunk in self._plan.chunks[1:]:
            if chunk.cut or chunk.text_changed:
                self._mark(draw, self.x(chunk.first_frame), CUT if chunk.cut else RECACHE if chunk.recache else CHANGE)
        self._ends(draw)

    def draw_current(self, draw: ImageDraw.ImageDraw, index: int) -> None:
        """Draw the current chunk brighter."""
        self._block(draw, index, 1.0)

    def put_playhead(self, picture: Picture, frame: int) -> None:
        x = min(self.x(frame + 0.5), self._right - 1)
        thick = max(round(3 * self._layout.unit), 1)
        reach = round(6 * self._layout.unit)
        left = max(x - thick // 2, 0)
        picture[max(self._top - reach, 0) : self._bottom + reach, left : left + thick] = INK
        for _, top, _, bottom in self._layout.lanes:
            picture[top:bottom, x] = INK

    def _block(self, draw: ImageDraw.ImageDraw, index: int, brightness: float) -> None:
        left, right = self.spans[index]
        seam = 1 if right - left >= SEAM_FROM else 0
        red, green, blue = (round(c * brightness) for c in self._colors[index])
        draw.rectangle(self._box(left, max(right - seam, left + 1)), fill=(red, green, blue))

    def _mark(self, draw: ImageDraw.ImageDraw, x: int, color: Color) -> None:
        """Draw a small flag above the strip."""
        size = max(round(6 * self._layout.unit), 1)
        base = self._top - max(round(3 * self._layout.unit), 1)
        draw.polygon([(x - size, base - size), (x + size, base - size), (x, base)], fill=color)

    def _ends(self, draw: ImageDraw.ImageDraw) -> None:
        face = font(13 * self._layout.unit)
        y = self._bottom + round(6 * self._layout.unit)
        draw.text((self._left, y), "0", fill=DIM, font=face)
        draw.text((self._right, y), str(self._plan.num_frames - 1), fill=DIM, font=face, anchor="ra")

    def _box(self, left: int, right: int) -> tuple[int, int, int, int]:
        """Return the box for Pillow, whose boxes include their last pixel."""
        return left, self._top, max(right - 1, left), self._bottom - 1
