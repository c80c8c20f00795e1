"""Lays out a slate of a given size, in pixels from the top left; a box is (left, top, right, bottom)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Box = tuple[int, int, int, int]

DESIGN_HEIGHT, DESIGN_WIDTH = 480, 832
"""The size at which one unit is one pixel."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The boxes of a slate. `unit`: pixels per design pixel, with which everything scales.

    number   the big frame number; clock: the line below it; cells: one per frame of the chunk.
    prompts  left column; values: right column, below the panes.
    panes    pictures at the top of the right column, by name, each with room for a label above it.
    lanes    curves, from the top; strip: the timeline below them.
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
    panes: Mapping[str, Box]
    values: Box
    lanes: tuple[Box, ...]
    strip: Box


MOST_LANES = 3
LANES, LANE, LANE_TEXT = 102, 44, 14
"""In design pixels: height of all lanes; largest height of one lane; part of it above the curve, for the name."""
WIDE_FROM = 3
"""Number of panes from which they take three columns, and the right column is wider."""


def make_layout(height: int, width: int, panes: Sequence[str] = (), lanes: int = 0) -> Layout:
    """Compute the layout. `panes`: names of the pictures; `lanes`: number of curves, of which `MOST_LANES` fit."""
    unit = min(height / DESIGN_HEIGHT, width / DESIGN_WIDTH)
    margin = max(round(28 * unit), 1)
    left, right = margin, width - margin
    column = left + round((right - left) * (0.54 if len(panes) >= WIDE_FROM else 0.62))
    aside = column + round(32 * unit)

    def below(top: int, design_height: float) -> tuple[int, int]:
        return top, top + max(round(design_height * unit), 1)

    label = below(margin, 22)
    number = below(label[1] + round(12 * unit), 64 if lanes else 96)
    clock = below(number[1] + round(10 * unit), 26)
    cells = below(clock[1] + round(12 * unit), 10)
    strip_top = height - margin - max(round(30 * unit), 2)
    lanes = min(lanes, MOST_LANES)
    pitch = min(LANE, LANES / max(lanes, 1))
    prompts_top = cells[1] + round(26 * unit)
    prompts_bottom = max(strip_top - round((34 if not lanes else 18 + pitch * lanes) * unit), prompts_top + 1)
    placed = _panes((aside, margin, max(right, aside + 1)), height / width, height * 0.4, unit, panes)
    values_top = max((box[3] for box in placed.values()), default=margin - round(18 * unit)) + round(18 * unit)
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
        panes=placed,
        values=(aside, values_top, max(right, aside + 1), prompts_bottom),
        lanes=_lanes((left, max(right, left + 1)), strip_top - round(14 * unit), pitch, unit, lanes),
        strip=(left, strip_top, max(right, left + 1), height - margin),
    )


def _lanes(sides: tuple[int, int], bottom: int, pitch: float, unit: float, count: int) -> tuple[Box, ...]:
    left, right = sides
    tall = max(round((pitch - LANE_TEXT - 4) * unit), 1)
    bottoms = [max(bottom - round((count - 1 - order) * pitch * unit), tall) for order in range(count)]
    return tuple((left, bottom - tall, right, bottom) for bottom in bottoms)


def _panes(place: tuple[int, int, int], shape: float, most: float, unit: float, names: Sequence[str]) -> dict[str, Box]:
    """Place one pane over the whole column, or several in two or three columns, each below its label.

    `shape`: height / width; `most`: height of all in pixels.
    """
    left, top, right = place
    columns = min(len(names), 3 if len(names) >= WIDE_FROM else 2)
    rows = -(-len(names) // columns) if columns else 0
    gap, label = round(10 * unit), 0 if tuple(names) == ("input",) else round(16 * unit)
    placed: dict[str, Box] = {}
    for order, name in enumerate(names):
        row, column = divmod(order, columns)
        wide = max((right - left - gap * (columns - 1)) // columns, 1)
        tall = max(min(round(wide * shape), round(most / rows) - label), 1)
        x, y = left + column * (wide + gap), top + label + row * (tall + label + round(4 * unit))
        placed[name] = (x, y, x + wide, y + tall)
    return placed
