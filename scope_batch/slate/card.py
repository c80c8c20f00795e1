"""Draws a chunk's card: everything that is the same in all frames of the chunk."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from scope_batch.core.conditioning import Prompt, Transition
from scope_batch.core.frames import ChunkInputs
from scope_batch.core.plan import Chunk, Plan
from scope_batch.plan.view import text as values
from scope_batch.slate.boxes import Layout
from scope_batch.slate.lanes import Curves, short_lora_names
from scope_batch.slate.panes import Panes
from scope_batch.slate.strip import Timeline
from scope_batch.slate.theme import (
    BACKGROUND,
    CHANGE,
    CUT,
    DIM,
    FAINT,
    INK,
    PANEL,
    RECACHE,
    Color,
    decimals,
    font,
    wrap,
)

PROMPTS_SHOWN = 4


SMOOTH = 4
"""Round shapes are drawn this much larger, then reduced."""


def _pill(width: int, height: int) -> Image.Image:
    """Return a mask with round ends and smooth edges."""
    large = Image.new("L", (width * SMOOTH, height * SMOOTH))
    box = (0, 0, large.width - 1, large.height - 1)
    ImageDraw.Draw(large).rounded_rectangle(box, radius=large.height / 2, fill=255)
    return large.reduce(SMOOTH)


class Card:
    def __init__(self, plan: Plan, layout: Layout, timeline: Timeline, curves: Curves, panes: Panes) -> None:
        self._plan, self._layout, self._timeline, self._curves, self._panes = plan, layout, timeline, curves, panes
        self._loras = short_lora_names(plan)
        self._base = Image.new("RGB", (layout.width, layout.height), BACKGROUND)
        for part in (timeline, curves, panes):
            part.draw(ImageDraw.Draw(self._base))

    def draw(self, chunk: Chunk, shares: Sequence[Prompt], inputs: ChunkInputs) -> Image.Image:
        """Draw the card of a chunk, without frame numbers, moving pictures and playhead."""
        image = self._base.copy()
        draw = ImageDraw.Draw(image)
        self._timeline.draw_current(draw, chunk.index)
        self._curves.draw_current(draw, chunk.index)
        self._panes.draw_chunk(image, chunk, inputs)
        self._label(draw, chunk)
        self._chunk_line(draw, chunk)
        self._prompts(draw, chunk, shares)
        self._values(draw, chunk)
        return image

    def _px(self, design: float) -> int:
        return round(design * self._layout.unit)

    def _label(self, draw: ImageDraw.ImageDraw, chunk: Chunk) -> None:
        left, top, _, bottom = self._layout.label
        middle, face = (top + bottom) // 2, font(16 * self._layout.unit)
        draw.text((left, middle), "FRAME", fill=DIM, font=face, anchor="lm")
        event = values.event(chunk)
        if event:
            color = CUT if chunk.cut else RECACHE if chunk.recache else CHANGE
            self._badge(draw, left + round(face.getlength("FRAME")) + self._px(16), event, color)

    def _badge(self, draw: ImageDraw.ImageDraw, left: int, text: str, color: Color) -> None:
        face = font(15 * self._layout.unit)
        _, top, _, bottom = self._layout.label
        (shown,) = wrap(text, face, max(self._layout.number[2] - left - self._px(20), 1), 1)
        pill = _pill(round(face.getlength(shown)) + self._px(20), bottom - top)
        draw.bitmap((left, top), pill, fill=color)
        draw.text((left + self._px(10), (top + bottom) / 2), shown, fill=BACKGROUND, font=face, anchor="lm")

    def _chunk_line(self, draw: ImageDraw.ImageDraw, chunk: Chunk) -> None:
        """Draw the chunk's number to the right of the clock, which is drawn per frame."""
        _, top, right, bottom = self._layout.clock
        last = self._plan.chunks[-1].index
        face, middle = font(22 * self._layout.unit), (top + bottom) / 2
        draw.text((right, middle), f"chunk {chunk.index} / {last}", fill=INK, font=face, anchor="rm")

    def _prompts(self, draw: ImageDraw.ImageDraw, chunk: Chunk, shares: Sequence[Prompt]) -> None:
        left, top, right, bottom = self._layout.prompts
        transition = chunk.conditioning
        if isinstance(transition, Transition):
            top = self._transition(draw, transition, top)
        face = font((22 if len(shares) == 1 else 18) * self._layout.unit)
        pitch = max(round(face.getbbox("Ag")[3] * 1.25), 1)
        fitting = max((bottom - top) // (pitch + self._px(10)), 1)
        shown = sorted(shares, key=lambda prompt: -prompt.weight)[: min(PROMPTS_SHOWN, fitting)]
        for order, prompt in enumerate(shown):
            room = (bottom - top) // (len(shown) - order)
            lines = wrap(prompt.text, face, max(right - left - self._px(76), 1), max(room // pitch, 1))
            self._prompt(draw, (left, top), prompt, lines, pitch)
            top += len(lines) * pitch + self._px(10)

    def _prompt(
        self, draw: ImageDraw.ImageDraw, at: tuple[int, int], prompt: Prompt, lines: list[str], pitch: int
    ) -> None:
        left, top = at
        face = font((22 if prompt.weight == 1 else 18) * self._layout.unit)
        bar = (left, top, left + max(self._px(5), 1), top + max(len(lines), 1) * pitch - self._px(4))
        draw.rectangle((bar[0], bar[1], bar[2], max(bar[3], bar[1])), fill=self._timeline.color_of[prompt.text])
        share = "" if prompt.weight == 1 else f"{prompt.weight:.0%}"
        draw.text((left + self._px(18), top), share, fill=DIM, font=face)
        indent = self._px(76) if share else self._px(18)
        for order, line in enumerate(lines):
            draw.text((left + indent, top + order * pitch), line, fill=INK, font=face)

    def _transition(self, draw: ImageDraw.ImageDraw, transition: Transition, top: int) -> int:
        """Draw a bar filled to the target's share; returns the top of the prompts below it."""
        left, _, right, _ = self._layout.prompts
        face, height = font(15 * self._layout.unit), max(self._px(8), 1)
        label = f"transition {transition.step + 1}/{transition.steps}"
        start = left + round(face.getlength(label)) + self._px(14)
        middle = top + self._px(9)
        draw.text((left, middle), label, fill=RECACHE, font=face, anchor="lm")
        if right - start > height:
            y = middle - height // 2
            draw.rectangle((start, y, right, y + height - 1), fill=FAINT)
            if transition.t > 0:
                draw.rectangle((start, y, start + round((right - start) * transition.t), y + height - 1), fill=RECACHE)
        return top + self._px(30)

    def _values(self, draw: ImageDraw.ImageDraw, chunk: Chunk) -> None:
        left, top, right, bottom = self._layout.values
        before = self._plan.chunks[chunk.index - 1] if chunk.index else chunk
        rows = [
            (name, value, value != old and name not in EXPECTED_TO_CHANGE)
            for (name, value), (_, old) in zip(self._facts(chunk), self._facts(before), strict=True)
            if value and name not in self._curves.names
        ]
        pitch = min(self._px(34), max((bottom - top) // len(rows), self._px(19)))
        name_face, face = font(14 * self._layout.unit), font(min(19 * self._layout.unit, pitch * 0.75))
        for name, value, changed in rows:
            if top + self._px(18) > bottom:
                break
            middle = top + (pitch - self._px(5)) / 2
            (shown,) = wrap(value, face, max(right - left - self._px(70), 1), 1)
            (label,) = wrap(name, name_face, max(right - left - face.getlength(shown) - self._px(12), 1), 1)
            draw.text((left, middle), label, fill=DIM, font=name_face, anchor="lm")
            draw.text((right, middle), shown, fill=CHANGE if changed else INK, font=face, anchor="rm")
            y = top + pitch - self._px(4)
            draw.line((left, y, right, y), fill=PANEL, width=max(self._px(1), 1))
            top += pitch

    def _facts(self, chunk: Chunk) -> list[tuple[str, str]]:
        """Return (name, text) of the chunk's values; the text is empty if the chunk has no such value."""
        first, last = chunk.start_latent, chunk.start_latent + chunk.latents - 1
        return [
            ("mode", chunk.mode),
            ("seed", str(chunk.seed)),
            ("noise seed", str(chunk.noise_seed)),
            ("noise", values.noise_scale(chunk).replace("controller", "auto")),
            ("steps", values.steps(chunk)),
            *((name, decimals(scale)) for name, scale in zip(self._loras, chunk.lora_scales, strict=True)),
            ("vace scale", "" if chunk.vace is None else decimals(chunk.vace.scale)),
            ("latents", f"{first}-{last}"),
        ]


EXPECTED_TO_CHANGE = frozenset({"noise seed", "latents"})
