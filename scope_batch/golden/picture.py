"""Draws pairs of frames side by side, each with a map of their difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scope_batch.golden.comparison import FramePair
from scope_batch.media.source import Frame

GAP, MARGIN = 8, 8
TEXT_HEIGHT = 22
FONT_SIZE = 14
LEAST_WIDTH = 240
"""Pixels; smaller frames are enlarged by a whole factor."""
BACKGROUND, INK, DIM = (24, 24, 27), (240, 240, 240), (160, 160, 168)


def side_by_side(pairs: Sequence[FramePair], names: tuple[str, str], places: Sequence[str]) -> Image.Image:
    """Return a picture with a row for each pair: A, B, and their difference, brightened until its largest is white.

    names   what A and B are called.
    places  the place of each pair, such as "frame 21 (chunk 2)".
    """
    height, width = max((pair.a.shape[:2] for pair in pairs), key=lambda size: size[1])  # others are enlarged to it
    factor = max(1, -(-LEAST_WIDTH // width))
    cell = (width * factor, height * factor)
    row = cell[1] + 2 * TEXT_HEIGHT + GAP
    size = (3 * cell[0] + 2 * GAP + 2 * MARGIN, len(pairs) * row + TEXT_HEIGHT + 2 * MARGIN)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    columns = [MARGIN + index * (cell[0] + GAP) for index in range(3)]
    for left, title in zip(columns, (f"A: {names[0]}", f"B: {names[1]}", "difference"), strict=True):
        draw.text((left, MARGIN), fitting(title, cell[0], font), fill=INK, font=font)
    for index, (pair, place) in enumerate(zip(pairs, places, strict=True)):
        top = MARGIN + TEXT_HEIGHT + index * row
        gain = 255 / max(pair.result.largest, 1)
        lines = (place, f"{pair.result}; brightened {gain:.3g} times")
        for line, text in enumerate(lines):
            draw.text((MARGIN, top + line * TEXT_HEIGHT), fitting(text, size[0] - 2 * MARGIN, font), DIM, font)
        for left, frame in zip(columns, (pair.a, pair.b, difference_map(pair.a, pair.b)), strict=True):
            shown = Image.fromarray(frame).resize(cell, Image.Resampling.NEAREST)
            sheet.paste(shown, (left, top + 2 * TEXT_HEIGHT))
    return sheet


def difference_map(a: Frame, b: Frame) -> Frame:
    """Return the largest difference of each pixel's channels as gray, uint8 [H, W, 3], scaled to reach 255."""
    levels = (np.maximum(a, b) - np.minimum(a, b)).max(axis=2)
    scaled = levels.astype(np.float32) * (255 / max(int(levels.max()), 1))
    return np.repeat(np.rint(scaled).astype(np.uint8)[..., None], 3, axis=2)


def fitting(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Return the text, cut at its end where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
