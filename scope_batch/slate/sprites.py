"""Draws digits once and copies them per frame, for the text that changes from frame to frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from scope_batch.slate.theme import BACKGROUND, Color, font

Picture = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""

CHARACTERS = "0123456789:."


class Sprites:
    """The characters of numbers and clocks. All digits have the width of the widest, which keeps text in place."""

    def __init__(self, size: float, color: Color) -> None:
        face = font(size)
        top, bottom = face.getbbox("0")[1], face.getbbox("0")[3]
        self.height = max(int(bottom - top) + 2, 1)
        digit = max(int(np.ceil(face.getlength(c))) for c in "0123456789")
        widths = {c: digit if c.isdigit() else int(np.ceil(face.getlength(c))) + 1 for c in CHARACTERS}
        self._glyphs: dict[str, Picture] = {}
        for character, width in widths.items():
            cell = Image.new("RGB", (max(width, 1), self.height), BACKGROUND)
            start = (width - face.getlength(character)) / 2
            ImageDraw.Draw(cell).text((start, 1 - top), character, fill=color, font=face)
            self._glyphs[character] = np.asarray(cell)

    def width(self, text: str) -> int:
        return sum(self._glyphs[character].shape[1] for character in text)

    def put(self, picture: Picture, left: int, top: int, text: str) -> None:
        """Copy `text` into `picture`, clipped at its borders."""
        for character in text:
            glyph = self._glyphs[character]
            target = picture[top : top + glyph.shape[0], left : left + glyph.shape[1]]
            target[:] = glyph[: target.shape[0], : target.shape[1]]
            left += glyph.shape[1]


def fitting_sprites(text: str, width: int, height: int, color: Color) -> Sprites:
    """Return the largest sprites in which `text` fits width and height, as far as a font can be that small."""
    size = height / 0.72  # digits of the font are 0.7 em high
    sprites = Sprites(size, color)
    shrink = min(width / sprites.width(text), height / sprites.height)
    return sprites if shrink >= 1 else Sprites(size * shrink, color)
