"""Draws the backgrounds of the tiny world, one picture per ground and light. Add a ground here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .nouns import Colour

LIGHTS = ("day", "night", "sunset")
GROUNDS = ("meadow", "sea", "snow", "desert", "city")
HORIZON = 0.62

_SKY = {"day": ((96, 168, 238), (206, 232, 250)), "night": ((14, 16, 52), (44, 46, 104)),
        "sunset": ((92, 62, 140), (252, 158, 92))}  # fmt: skip
_SUN: dict[str, tuple[Colour, float, float]] = {
    "day": ((255, 240, 150), 0.86, 0.16), "night": ((236, 236, 214), 0.86, 0.18), "sunset": ((255, 214, 120), 0.7, 0.5),
}  # fmt: skip
_DIMMED = {"day": (1.0, 1.0, 1.0), "night": (0.34, 0.38, 0.62), "sunset": (0.92, 0.68, 0.62)}
_FLOOR: dict[str, tuple[Colour, Colour]] = {
    "meadow": ((120, 190, 84), (70, 140, 56)), "sea": ((40, 124, 190), (16, 76, 140)),
    "snow": ((246, 250, 255), (206, 220, 238)), "desert": ((238, 200, 122), (206, 156, 84)),
    "city": ((128, 128, 136), (88, 88, 98)),
}  # fmt: skip


def backdrop(ground: str, light: str, width: int, height: int) -> NDArray[np.float32]:
    """Return the background [3, height, width] in 0..1."""
    big = Image.new("RGB", (width * 4, height * 4))
    draw = ImageDraw.Draw(big)
    w, h = big.size
    dim = np.array(_DIMMED[light])

    def dimmed(colour: Colour) -> Colour:
        red, green, blue = (round(v) for v in np.array(colour) * dim)
        return red, green, blue

    def gradient(top: Colour, bottom: Colour, first: float, last: float) -> None:
        for y in range(round(first * h), round(last * h)):
            share = (y / h - first) / (last - first)
            red, green, blue = (round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
            draw.line([(0, y), (w, y)], fill=(red, green, blue))

    def disc(x: float, y: float, radius: float, fill: Colour, flat: float = 1.0) -> None:
        box = [x * w - radius * h, (y - radius * flat) * h, x * w + radius * h, (y + radius * flat) * h]
        draw.ellipse(box, fill=fill)

    gradient(*_SKY[light], 0, HORIZON)
    disc(_SUN[light][1], _SUN[light][2], 0.09, _SUN[light][0])
    if light == "night":
        for i in range(14):
            disc((0.07 + 0.618 * i) % 1, (0.05 + 0.377 * i) % 0.5, 0.012, (230, 230, 250))
    elif light == "day":
        for x, y in ((0.16, 0.17), (0.22, 0.14), (0.28, 0.18)):
            disc(x, y, 0.055, (250, 252, 255), 0.7)
    if ground == "meadow":
        disc(0.2, 0.72, 0.34, dimmed((88, 160, 76)), 0.6)
        disc(0.8, 0.74, 0.42, dimmed((102, 174, 80)), 0.6)
    elif ground == "snow":
        for x, size in ((0.18, 0.3), (0.5, 0.22), (0.84, 0.36)):
            peak = [(x * w - size * h, HORIZON * h), (x * w, (HORIZON - size) * h), (x * w + size * h, HORIZON * h)]
            draw.polygon(peak, fill=dimmed((150, 172, 206)))
            tip = size * 0.4
            snow = [
                (x * w - tip * h, (HORIZON - size + tip) * h),
                peak[1],
                (x * w + tip * h, (HORIZON - size + tip) * h),
            ]
            draw.polygon(snow, fill=dimmed((250, 252, 255)))
    elif ground == "city":
        for i, top in enumerate((0.34, 0.46, 0.26, 0.42, 0.5, 0.3, 0.44, 0.36)):
            left, right = w * i / 8, w * (i + 0.86) / 8
            draw.rectangle([left, top * h, right, HORIZON * h], fill=dimmed((126, 120, 144)))
            for row in range(int((HORIZON - top) / 0.09)):
                for column in (0.25, 0.62):
                    x, y = left + (right - left) * column, (top + 0.035 + 0.09 * row) * h
                    lit = (255, 224, 130) if light != "day" else (208, 224, 236)
                    draw.rectangle([x, y, x + (right - left) * 0.2, y + 0.045 * h], fill=lit)
    elif ground == "desert":
        disc(0.3, 0.7, 0.3, dimmed((226, 184, 110)), 0.5)
        disc(0.75, 0.72, 0.36, dimmed((216, 172, 98)), 0.5)
    gradient(dimmed(_FLOOR[ground][0]), dimmed(_FLOOR[ground][1]), HORIZON, 1)
    if ground == "city":
        for i in range(5):
            draw.rectangle([w * (i + 0.25) / 5, 0.87 * h, w * (i + 0.75) / 5, 0.9 * h], fill=dimmed((236, 224, 150)))
    pixels = np.asarray(big.resize((width, height), Image.Resampling.BOX), np.float32)
    return pixels.transpose(2, 0, 1) / 255
