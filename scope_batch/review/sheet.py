"""Draws a contact sheet of a film, with the chunks and prompts that its frames come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

from scope_batch.golden.picture import BACKGROUND, DIM, INK, fitting
from scope_batch.golden.streams import FrameStream
from scope_batch.media.source import Frame
from scope_batch.plan.view import text

COLUMNS = 6
CELL_WIDTH = 208
"""Pixels of a cell of the sheet."""
MOST_CELLS = 48
GAP, MARGIN, LABEL_HEIGHT, PROMPT_HEIGHT, BORDER_WIDTH, FONT_SIZE = 10, 12, 18, 28, 4, 13
BORDER, CUT = (190, 208, 90), (235, 90, 80)
"""Colours of the mark before a frame that begins a chunk, and a chunk after a cut."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A frame of the sheet. border: a chunk has begun since the cell before; cut: with a cut."""

    frame: int
    picture: Image.Image
    label: str
    prompt: str
    border: bool
    cut: bool


def contact_sheet(film: FrameStream, *, every: int | None = None, columns: int = COLUMNS) -> Image.Image:
    """Return a sheet of every `every`-th frame, by default of at most 48. Reads the film once, frame by frame.

    Where the film carries its job, a row begins with every prompt, and a mark stands before the first frame of a chunk:
    green, or red after a cut.
    """
    cells = list(_cells(film, every or _step(film)))
    rows = [
        (prompt, [row[start : start + columns] for start in range(0, len(row), columns)])
        for prompt, group in groupby(cells, lambda cell: cell.prompt)
        for row in [list(group)]
    ]
    return _draw(rows, columns)


def _step(film: FrameStream) -> int:
    return 1 if film.count is None else max(1, -(-film.count // MOST_CELLS))


def _cells(film: FrameStream, every: int) -> Iterator[Cell]:
    before = -1
    for index, frame in enumerate(film.frames):
        if index % every == 0:
            yield _cell(film, index, before, frame)
            before = index


def _cell(film: FrameStream, index: int, before: int, frame: Frame) -> Cell:
    time = "" if film.fps is None else f"  {text.clock(float(index / film.fps))}"
    height = max(1, round(CELL_WIDTH * frame.shape[0] / frame.shape[1]))
    picture = Image.fromarray(frame).resize((CELL_WIDTH, height), Image.Resampling.BOX)
    if film.map is None:
        return Cell(index, picture, f"{index}{time}", "", border=False, cut=False)
    began = _between(film.map.first_frames, before, index)
    label = f"{index}{time}  chunk {film.map.chunk_at(index)}"
    cut = _between(film.map.cuts, before, index)
    return Cell(index, picture, label, film.map.prompt_at(index), border=began, cut=cut)


def _between(frames: Sequence[int], before: int, index: int) -> bool:
    return any(before < frame <= index for frame in frames)


def _draw(rows: Sequence[tuple[str, list[list[Cell]]]], columns: int) -> Image.Image:
    cell_height = max(cell.picture.height for _, lines in rows for line in lines for cell in line)
    line_height = cell_height + LABEL_HEIGHT + GAP
    headed = [prompt for prompt, _ in rows if prompt]
    width = 2 * MARGIN + columns * (CELL_WIDTH + GAP) - GAP
    height = 2 * MARGIN + len(headed) * PROMPT_HEIGHT + sum(len(lines) for _, lines in rows) * line_height
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    top = MARGIN
    for prompt, lines in rows:
        if prompt:
            draw.text((MARGIN, top + 4), fitting(prompt, width - 2 * MARGIN, font), INK, font)
            top += PROMPT_HEIGHT
        for line in lines:
            for column, cell in enumerate(line):
                left = MARGIN + column * (CELL_WIDTH + GAP)
                sheet.paste(cell.picture, (left, top))
                draw.text((left, top + cell_height + 1), fitting(cell.label, CELL_WIDTH, font), DIM, font)
                if cell.border:
                    mark = (left - BORDER_WIDTH - 2, top, left - 3, top + cell_height)
                    draw.rectangle(mark, CUT if cell.cut else BORDER)
            top += line_height
    return sheet
