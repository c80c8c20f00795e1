"""Draws the things of the tiny world, one picture per noun. Add a noun here.

A noun is drawn on a square of -1..1 in both directions, x to the right and y down, and faces right. It is drawn
twice, with black and with white paint, so that any colour can be mixed in later: picture(paint) = base + gain * paint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

INK: Colour = (34, 30, 44)
WHITE: Colour = (250, 250, 246)
GLASS: Colour = (196, 226, 240)
WOOD: Colour = (122, 78, 46)
LEAF: Colour = (66, 140, 62)
SPRITE_PIXELS = 80
OVERSAMPLED = 6
LINE = 0.075


def shade(paint: Colour, share: float) -> Colour:
    red, green, blue = (round(value * share) for value in paint)
    return red, green, blue


class Canvas:
    """A supersampled picture with coordinates in -1..1. Every filled shape gets a dark outline."""

    def __init__(self, pixels: int) -> None:
        self.scale = pixels * OVERSAMPLED / 2
        self.pixels = pixels
        self.image = Image.new("RGBA", (pixels * OVERSAMPLED, pixels * OVERSAMPLED), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def _place(self, points: Points) -> list[tuple[float, float]]:
        return [((x + 1) * self.scale, (y + 1) * self.scale) for x, y in points]

    def polygon(self, points: Points, fill: Colour, line: float = LINE) -> None:
        placed = self._place(points)
        self.draw.polygon(placed, fill=(*fill, 255))
        if line:
            self.line([*points, points[0], points[1]], line)

    def line(self, points: Points, width: float = LINE, fill: Colour = INK) -> None:
        self.draw.line(self._place(points), fill=(*fill, 255), width=round(width * self.scale), joint="curve")

    def disc(self, x: float, y: float, radius: float, fill: Colour, line: float = LINE, tall: float = 1.0) -> None:
        turns = [2 * math.pi * i / 96 for i in range(96)]
        points = [(x + radius * math.cos(turn), y + radius * tall * math.sin(turn)) for turn in turns]
        self.polygon(points, fill, line)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour, line: float = LINE) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill, line)

    def rgba(self) -> NDArray[np.float32]:
        """Return [4, pixels, pixels] in 0..1, with premultiplied alpha."""
        values = np.asarray(self.image, np.float32).transpose(2, 0, 1) / 255
        values[:3] *= values[3:]
        cells = values.reshape(4, self.pixels, OVERSAMPLED, self.pixels, OVERSAMPLED)
        return cells.mean(axis=(2, 4))


def ball(c: Canvas, paint: Colour) -> None:
    c.disc(0, 0, 0.86, paint)
    c.polygon([(0.82 * math.cos(t), 0.82 * math.sin(t)) for t in np.linspace(0.35, 2.8, 40)], shade(paint, 0.72), 0)
    c.disc(-0.3, -0.36, 0.2, WHITE, 0)


def crate(c: Canvas, paint: Colour) -> None:
    c.box(-0.8, -0.8, 0.8, 0.8, paint)
    c.box(-0.52, -0.52, 0.52, 0.52, shade(paint, 0.7))
    c.line([(-0.5, -0.5), (0.5, 0.5)], 0.16)


def star(c: Canvas, paint: Colour) -> None:
    def spikes(size: float) -> Points:
        turns = [-math.pi / 2 + math.pi * i / 5 for i in range(10)]
        return [
            (size * (1 - 0.55 * (i % 2)) * math.cos(t), 0.06 + size * (1 - 0.55 * (i % 2)) * math.sin(t))
            for i, t in enumerate(turns)
        ]

    c.polygon(spikes(0.95), paint, 0.09)
    c.polygon(spikes(0.5), shade(paint, 0.8), 0)


def heart(c: Canvas, paint: Colour) -> None:
    turns = np.linspace(0, 2 * math.pi, 120, endpoint=False)
    xs = 16 * np.sin(turns) ** 3 / 18
    ys = -(13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)) / 17 - 0.05
    c.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), paint, 0.09)
    c.disc(-0.42, -0.36, 0.17, WHITE, 0)


def boat(c: Canvas, paint: Colour) -> None:
    c.line([(-0.05, -0.9), (-0.05, 0.4)], 0.1, WOOD)
    c.polygon([(0.05, -0.86), (0.78, 0.22), (0.05, 0.22)], WHITE)
    c.polygon([(-0.16, -0.6), (-0.16, 0.22), (-0.66, 0.22)], shade(WHITE, 0.85))
    c.polygon([(-0.9, 0.36), (0.94, 0.36), (0.62, 0.88), (-0.62, 0.88)], paint)


def house(c: Canvas, paint: Colour) -> None:
    c.box(-0.7, -0.16, 0.7, 0.88, paint)
    c.polygon([(-0.92, -0.12), (0, -0.92), (0.92, -0.12)], (120, 62, 52))
    c.box(-0.16, 0.3, 0.2, 0.88, WOOD)
    c.box(0.34, 0.1, 0.6, 0.4, GLASS, 0.05)
    c.box(-0.58, 0.1, -0.32, 0.4, GLASS, 0.05)


def tree(c: Canvas, paint: Colour) -> None:
    c.box(-0.16, 0.2, 0.16, 0.9, WOOD)
    for x, y, radius in ((-0.36, -0.02, 0.46), (0.36, -0.02, 0.46), (0, -0.42, 0.5)):
        c.disc(x, y, radius, paint)
    for x, y, radius in ((-0.36, -0.02, 0.4), (0.36, -0.02, 0.4), (0, -0.42, 0.43), (0, 0.06, 0.3)):
        c.disc(x, y, radius, paint, 0)
    c.disc(0.3, 0.08, 0.2, shade(paint, 0.75), 0)


def fish(c: Canvas, paint: Colour) -> None:
    c.polygon([(-0.5, 0), (-0.95, -0.5), (-0.95, 0.5)], shade(paint, 0.75))
    c.disc(0.14, 0, 0.74, paint, tall=0.68)
    c.polygon([(0, -0.1), (-0.24, 0.24), (0.12, 0.2)], shade(paint, 0.65), 0.04)
    c.disc(0.5, -0.12, 0.15, WHITE, 0.05)
    c.disc(0.54, -0.12, 0.07, INK, 0)


def balloon(c: Canvas, paint: Colour) -> None:
    c.line([(-0.3, 0.3), (-0.16, 0.66)], 0.05)
    c.line([(0.3, 0.3), (0.16, 0.66)], 0.05)
    c.polygon([(-0.52, 0.08), (0.52, 0.08), (0.2, 0.5), (-0.2, 0.5)], paint)
    c.disc(0, -0.28, 0.66, paint)
    c.polygon([(-0.5, 0.1), (0.5, 0.1), (0.2, 0.45), (-0.2, 0.45)], paint, 0)
    c.disc(0, -0.28, 0.25, WHITE, 0, tall=2.3)
    c.box(-0.2, 0.64, 0.2, 0.94, WOOD)


def car(c: Canvas, paint: Colour) -> None:
    c.polygon([(-0.56, 0.12), (-0.4, -0.4), (0.24, -0.4), (0.5, 0.12)], paint)
    c.polygon([(-0.42, 0.08), (-0.3, -0.28), (0.16, -0.28), (0.34, 0.08)], GLASS, 0.05)
    c.polygon([(-0.94, 0.08), (0.8, 0.08), (0.95, 0.28), (0.95, 0.56), (-0.94, 0.56)], paint)
    for x in (-0.5, 0.52):
        c.disc(x, 0.58, 0.3, INK, 0)
        c.disc(x, 0.58, 0.13, (200, 200, 204), 0)


def flower(c: Canvas, paint: Colour) -> None:
    c.line([(0, 0), (0, 0.94)], 0.14, LEAF)
    c.polygon([(0, 0.8), (0.2, 0.5), (0.56, 0.46), (0.36, 0.76)], LEAF, 0.05)
    for i in range(6):
        turn = math.pi * i / 3 + 0.5
        c.disc(0.4 * math.cos(turn), -0.3 + 0.4 * math.sin(turn), 0.28, paint, 0.06)
    c.disc(0, -0.3, 0.24, (250, 206, 60), 0.06)


def bird(c: Canvas, paint: Colour) -> None:
    c.polygon([(-0.4, 0.0), (-0.98, -0.24), (-0.94, 0.3)], shade(paint, 0.75))
    c.disc(-0.04, 0.12, 0.52, paint, tall=0.78)
    c.disc(0.46, -0.24, 0.32, paint)
    c.polygon([(0.74, -0.34), (0.99, -0.18), (0.74, -0.1)], (250, 170, 40), 0.05)
    c.polygon([(0.16, 0.04), (-0.62, -0.8), (-0.36, 0.2)], shade(paint, 0.82))
    c.disc(0.54, -0.3, 0.08, INK, 0)


def cat(c: Canvas, paint: Colour) -> None:
    c.line([(0.5, 0.6), (0.86, 0.3), (0.78, -0.16)], 0.2, shade(paint, 0.75))
    c.disc(0, 0.44, 0.5, paint, tall=0.9)
    for way in (-1, 1):
        c.polygon([(way * 0.56, -0.3), (way * 0.54, -0.92), (way * 0.06, -0.6)], paint)
    c.disc(0, -0.24, 0.58, paint, tall=0.82)
    for way in (-1, 1):
        c.disc(way * 0.24, -0.3, 0.13, WHITE, 0.05)
        c.disc(way * 0.24, -0.28, 0.07, INK, 0)
    c.polygon([(-0.08, -0.1), (0.08, -0.1), (0, 0)], INK, 0)


def butterfly(c: Canvas, paint: Colour) -> None:
    for way in (-1, 1):
        c.line([(0, -0.4), (way * 0.26, -0.84)], 0.06)
        c.disc(way * 0.44, 0.4, 0.36, shade(paint, 0.75))
        c.disc(way * 0.5, -0.26, 0.44, paint)
        c.disc(way * 0.52, -0.26, 0.18, WHITE, 0)
    c.disc(0, 0.06, 0.12, INK, 0, tall=4.6)


def umbrella(c: Canvas, paint: Colour) -> None:
    c.line([(0, -0.6), (0, 0.7), (0.08, 0.84), (0.24, 0.84), (0.3, 0.68)], 0.11, WOOD)
    dome = [(0.92 * math.cos(t), 0.1 - 0.94 * math.sin(t)) for t in np.linspace(0, math.pi, 40)]
    rim = [(-0.92 + 0.46 * (i / 8), 0.1 - 0.16 * math.sin(math.pi * (i % 8) / 8)) for i in range(33)]
    c.polygon([*dome, *rim], paint)
    c.polygon([(-0.4, -0.02), (-0.2, -0.66), (0, -0.82), (0.2, -0.66), (0.4, -0.02)], shade(paint, 0.75), 0)


def mushroom(c: Canvas, paint: Colour) -> None:
    c.polygon([(-0.24, 0), (0.24, 0), (0.36, 0.9), (-0.36, 0.9)], (240, 226, 200))
    c.polygon([(0.92 * math.cos(t), 0.14 - 0.98 * math.sin(t)) for t in np.linspace(0, math.pi, 50)], paint)
    for x, y, radius in ((-0.4, -0.26, 0.17), (0.12, -0.5, 0.2), (0.52, -0.1, 0.14)):
        c.disc(x, y, radius, WHITE, 0)


def rocket(c: Canvas, paint: Colour) -> None:
    c.polygon([(-0.16, 0.5), (0, 0.96), (0.16, 0.5)], (252, 170, 50), 0)
    for way in (-1, 1):
        c.polygon([(way * 0.28, 0.1), (way * 0.66, 0.66), (way * 0.28, 0.54)], shade(paint, 0.7))
    right = [(0.36 * math.sin(math.pi * t) ** 0.7 * (1 - 0.2 * t), -0.94 + 1.52 * t) for t in np.linspace(0, 0.86, 30)]
    c.polygon([*right, *((-x, y) for x, y in reversed(right))], paint)
    c.disc(0, -0.26, 0.17, GLASS, 0.06)


def snowman(c: Canvas, paint: Colour) -> None:
    c.disc(0, 0.46, 0.46, WHITE)
    c.disc(0, -0.2, 0.34, WHITE)
    c.box(-0.38, -0.56, 0.38, -0.46, paint)
    c.box(-0.26, -0.94, 0.26, -0.5, paint)
    c.box(-0.34, 0.02, 0.34, 0.16, paint, 0.05)
    for x in (-0.12, 0.14):
        c.disc(x, -0.28, 0.06, INK, 0)
    c.polygon([(0.02, -0.2), (0.34, -0.12), (0.02, -0.08)], (250, 140, 30), 0)


def cup(c: Canvas, paint: Colour) -> None:
    c.disc(0.56, 0.2, 0.32, paint)
    c.disc(0.56, 0.2, 0.14, WHITE, 0.05)
    c.polygon([(-0.72, -0.34), (0.62, -0.34), (0.46, 0.84), (-0.56, 0.84)], paint)
    c.disc(-0.05, -0.34, 0.66, (96, 60, 40), tall=0.3)
    for x in (-0.3, 0.1):
        c.line([(x, -0.6), (x + 0.12, -0.74), (x, -0.9)], 0.09, shade(WHITE, 0.85))


def turtle(c: Canvas, paint: Colour) -> None:
    for x in (-0.5, 0.34):
        c.disc(x, 0.5, 0.2, LEAF)
    c.disc(0.72, 0.1, 0.25, LEAF)
    c.disc(0.8, 0.04, 0.06, INK, 0)
    c.polygon([(-0.08 + 0.78 * math.cos(t), 0.46 - 0.94 * math.sin(t)) for t in np.linspace(0, math.pi, 50)], paint)
    for x, y in ((-0.44, 0.18), (-0.08, -0.1), (0.28, 0.18)):
        c.disc(x, y, 0.16, shade(paint, 0.65), 0)


NOUNS: dict[str, Callable[[Canvas, Colour], None]] = {
    "ball": ball, "box": crate, "star": star, "heart": heart, "boat": boat, "house": house,
    "tree": tree, "fish": fish, "balloon": balloon, "car": car, "flower": flower, "bird": bird,
    "cat": cat, "butterfly": butterfly, "umbrella": umbrella, "mushroom": mushroom, "rocket": rocket,
    "snowman": snowman, "cup": cup, "turtle": turtle,
}  # fmt: skip


def sprite(noun: str) -> NDArray[np.float32]:
    """Return [5, pixels, pixels] in 0..1, premultiplied: alpha, base red, green, blue, gain."""
    black, white = Canvas(SPRITE_PIXELS), Canvas(SPRITE_PIXELS)
    NOUNS[noun](black, (0, 0, 0))
    NOUNS[noun](white, (255, 255, 255))
    base, full = black.rgba(), white.rgba()
    return np.concatenate([base[3:], base[:3], (full[:3] - base[:3]).mean(0, keepdims=True)])
