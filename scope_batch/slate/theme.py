"""Defines colours, fonts and text layout of the slate. Sizes are in pixels, colours RGB 0..255."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from io import BytesIO

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

Color = tuple[int, int, int]
Font = FreeTypeFont | ImageFont.ImageFont

BACKGROUND: Color = (13, 16, 21)
PANEL: Color = (25, 30, 38)
FAINT: Color = (62, 70, 82)
DIM: Color = (134, 146, 162)
INK: Color = (238, 242, 247)
CUT: Color = (242, 84, 91)
RECACHE: Color = (250, 176, 62)
CHANGE: Color = (84, 190, 245)

SMALLEST = 5
"""Smallest font size; a smaller slate shows only colours."""
GOLDEN = 0.618034


@lru_cache(maxsize=64)
def font(size: float) -> Font:
    """Load Pillow's own font without external layout libraries, so that all machines draw the same."""
    loaded = ImageFont.load_default(max(round(size), SMALLEST))
    if isinstance(loaded, FreeTypeFont):
        return FreeTypeFont(BytesIO(loaded.font_bytes), loaded.size, layout_engine=ImageFont.Layout.BASIC)
    return loaded


def prompt_color(order: int) -> Color:
    """Return the colour of the prompt that appears as number `order`; consecutive ones differ strongly in hue."""
    red, green, blue = colorsys.hls_to_rgb((0.58 + order * GOLDEN) % 1.0, 0.58, 0.55)
    return round(red * 255), round(green * 255), round(blue * 255)


def mixed(colors: list[tuple[Color, float]]) -> Color:
    """Return the weighted mean of colours; weights sum to 1."""
    red, green, blue = (round(sum(color[i] * weight for color, weight in colors)) for i in range(3))
    return red, green, blue


def decimals(value: float) -> str:
    """Format with two decimals, "0.30"; never "-0.00"."""
    return f"{round(value, 2) + 0.0:.2f}"


def wrap(text: str, face: Font, width: float, lines: int) -> list[str]:
    """Wrap to at most `lines` lines of `width` pixels; the rest becomes an ellipsis, long words are split."""
    wrapped: list[str] = []
    rest = " ".join(text.split())
    while rest and len(wrapped) < lines:
        fits = _fitting(rest, face, width)
        if fits < len(rest):
            if len(wrapped) == lines - 1:
                return [*wrapped, rest[: max(_fitting(rest, face, width - face.getlength("…")), 1)].rstrip() + "…"]
            blank = rest.rfind(" ", 0, fits + 1)
            fits = blank if blank > 0 else fits
        wrapped.append(rest[:fits].rstrip())
        rest = rest[fits:].lstrip()
    return wrapped


def _fitting(text: str, face: Font, width: float) -> int:
    """Return how many characters fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if face.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low
