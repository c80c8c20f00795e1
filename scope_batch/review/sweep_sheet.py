"""Draws a contact sheet of many jobs: a picture of each, with the values of the sweep that made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from scope_batch.golden.picture import BACKGROUND, DIM, INK, fitting
from scope_batch.media.open import open_source
from scope_batch.review.sheet import CELL_WIDTH, COLUMNS, FONT_SIZE, GAP, LABEL_HEIGHT, MARGIN, PROMPT_HEIGHT

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
MOST_COLUMNS = 8
MAX_LINES = 3
"""Lines that one value takes below a picture; more of a text is cut."""
_EMPTY = (48, 48, 52)
"""Colour of the place of a picture that there is not."""


@dataclass(frozen=True, slots=True)
class SheetCell:
    """A job of the sheet. labels: texts below its picture, such as seed=1001; picture: None if it has none."""

    labels: tuple[str, ...]
    picture: Image.Image | None


@dataclass(frozen=True, slots=True)
class SheetPart:
    """The jobs of one sweep. columns: pictures in a row."""

    head: str
    cells: Sequence[SheetCell]
    columns: int


def middle_picture(path: Path) -> Image.Image:
    """Return the middle frame of a film. Raises as `open_source` does."""
    with open_source(path) as film:
        frame = film.frame(film.frames // 2)
    height = max(1, round(CELL_WIDTH * frame.shape[0] / frame.shape[1]))
    return Image.fromarray(frame).resize((CELL_WIDTH, height), Image.Resampling.BOX)


def columns_for(jobs: int, last_key_values: int) -> int:
    """Return how many pictures stand in a row: one for each value of the last key, if that makes a grid."""
    return last_key_values if 1 < last_key_values <= MOST_COLUMNS else min(COLUMNS, jobs)


def sweep_sheet(parts: Sequence[SheetPart]) -> Image.Image:
    """Return the sheet: the pictures of each part under its head, which is left out where there is one part alone."""
    font = ImageFont.load_default(FONT_SIZE)
    columns = max(part.columns for part in parts)
    cells = [cell for part in parts for cell in part.cells]
    cell_height = max((cell.picture.height for cell in cells if cell.picture is not None), default=CELL_WIDTH * 9 // 16)
    lines = {id(cell): [line for label in cell.labels for line in _wrapped(label, font)] for cell in cells}
    head_height = PROMPT_HEIGHT if len(parts) > 1 else 0
    rows = [
        (part, part.cells[at : at + part.columns]) for part in parts for at in range(0, len(part.cells), part.columns)
    ]
    heights = [cell_height + LABEL_HEIGHT * max(len(lines[id(cell)]) for cell in row) + GAP for _, row in rows]
    width = 2 * MARGIN + columns * (CELL_WIDTH + GAP) - GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + head_height * len(parts) + sum(heights)), BACKGROUND)
    draw, top, before = ImageDraw.Draw(sheet), MARGIN, None
    for (part, row), height in zip(rows, heights, strict=True):
        if head_height and part is not before:
            draw.text((MARGIN, top + 4), fitting(part.head, width - 2 * MARGIN, font), INK, font)
            top += head_height
        before = part
        for column, cell in enumerate(row):
            left = MARGIN + column * (CELL_WIDTH + GAP)
            if cell.picture is None:
                draw.rectangle((left, top, left + CELL_WIDTH - 1, top + cell_height - 1), _EMPTY)
            else:
                sheet.paste(cell.picture, (left, top))
            for number, line in enumerate(lines[id(cell)]):
                draw.text((left, top + cell_height + 1 + number * LABEL_HEIGHT), line, DIM, font)
        top += height
    return sheet


def _wrapped(text: str, font: Font) -> list[str]:
    """Return the text in lines as wide as a cell, the last of which is cut where it is longer than `MAX_LINES`."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and (len(lines) == MAX_LINES or font.getlength(longer) <= CELL_WIDTH):
            lines[-1] = longer
        else:
            lines.append(word)
    return [fitting(line, CELL_WIDTH, font) for line in lines]
