"""Where things stand on a slate of a given size. Pixels from the top left; a box is (left, top, right, bottom)."""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[int, int, int, int]

DESIGN_HEIGHT, DESIGN_WIDTH = 480, 832
"""The size at which one unit is one pixel."""


@dataclass(frozen=True, slots=True)
class Layout:
    """`unit`: pixels per design pixel, so that everything grows with the picture.

    number   the big frame number; clock: the line below it; cells: one per frame of the chunk.
    prompts  left column; values: right column, below `thumbnail` in video mode.
    strip    the timeline.
    """

    height: int
    width: int
    unit: float
    margin: int
    label: Box
    number: Box
    clock: Box
    cells: Box
    prompts: Box
    thumbnail: Box
    values: Box
    strip: Box


def make_layout(height: int, width: int) -> Layout:
    unit = min(height / DESIGN_HEIGHT, width / DESIGN_WIDTH)
    margin = max(round(28 * unit), 1)
    left, right = margin, width - margin
    column = left + round((right - left) * 0.62)
    aside = column + round(32 * unit)

    def below(top: int, design_height: float) -> tuple[int, int]:
        return top, top + max(round(design_height * unit), 1)

    label = below(margin, 22)
    number = below(label[1] + round(12 * unit), 96)
    clock = below(number[1] + round(10 * unit), 26)
    cells = below(clock[1] + round(12 * unit), 10)
    strip_top = height - margin - max(round(30 * unit), 2)
    prompts_top = cells[1] + round(26 * unit)
    prompts_bottom = max(strip_top - round(34 * unit), prompts_top + 1)
    picture = max(right - aside, 1)
    thumbnail_bottom = margin + max(min(round(picture * height / width), round(height * 0.4)), 1)
    return Layout(
        height=height,
        width=width,
        unit=unit,
        margin=margin,
        label=(left, label[0], right, label[1]),
        number=(left, number[0], column, number[1]),
        clock=(left, clock[0], column, clock[1]),
        cells=(left, cells[0], column, cells[1]),
        prompts=(left, prompts_top, column, prompts_bottom),
        thumbnail=(aside, margin, max(right, aside + 1), thumbnail_bottom),
        values=(aside, margin, max(right, aside + 1), prompts_bottom),
        strip=(left, strip_top, max(right, left + 1), height - margin),
    )
