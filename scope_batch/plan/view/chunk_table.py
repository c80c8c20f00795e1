"""Shows the chunks of a plan as a table, or as paragraphs if the terminal is too narrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from scope_batch.core.conditioning import Prompt, Transition
from scope_batch.core.plan import Chunk, Plan
from scope_batch.plan.view import text as values
from scope_batch.plan.view.curves import lora_scales
from scope_batch.plan.view.text import shares_of, sources_of

FOLDED_FROM = 60
"""Plans with more chunks than this show a run of equal chunks as one row."""
FIRST_ROWS, LAST_ROWS = 150, 50
"""Rows shown of a longer table; those between are left out."""
WIDE_LORAS = 3
"""With more changing scales than this, the column wraps."""
MIN_TEXT_COLUMNS = 12
"""Minimum of terminal columns for a readable column that wraps."""


@dataclass(frozen=True, slots=True)
class Row:
    """One chunk, or a run of equal chunks from `chunk` to `last`. `sources`: their VACE inputs."""

    chunk: Chunk
    last: Chunk
    shares: tuple[Prompt, ...]
    sources: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `ratio`: share of the remaining width, text wraps; None: as wide as the widest cell."""

    title: str
    show: Callable[[Row], str]
    justify: Literal["left", "right"] = "left"
    ratio: int | None = None


class ChunkTable:
    """Draws itself as wide as the terminal allows. Values that are the same in all chunks have no column."""

    def __init__(self, plan: Plan) -> None:
        rows = list(_rows(plan))
        self._columns = list(_columns(plan, rows, distinct_settings(plan.chunks)))
        self.left_out = max(0, len(rows) - FIRST_ROWS - LAST_ROWS)
        """Rows from the middle that are not shown."""
        self._rows: list[Row | None] = [*rows]
        if self.left_out:
            self._rows = [*rows[:FIRST_ROWS], None, *rows[-LAST_ROWS:]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._min_width() <= options.max_width:
            yield self._table()
        else:
            yield from self._paragraphs()

    def _min_width(self) -> int:
        rows = [row for row in self._rows if row is not None]
        widths = [
            MIN_TEXT_COLUMNS
            if column.ratio
            else max(cell_len(text) for text in (column.title, *map(column.show, rows)))
            for column in self._columns
        ]
        return sum(widths) + len(widths)

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for column in self._columns:
            table.add_column(column.title, justify=column.justify, ratio=column.ratio, no_wrap=column.ratio is None)
        for row in self._rows:
            if row is None:
                table.add_row("…")
            else:
                table.add_row(*(Text(column.show(row)) for column in self._columns), style=_style(row.chunk))
        return table

    def _paragraphs(self) -> Iterator[Text]:
        """Yield each row as a line of numbers, followed by a line for each text."""
        for row in self._rows:
            if row is None:
                yield Text("…")
                continue
            cells = [(column, text) for column in self._columns if (text := column.show(row))]
            numbers = " · ".join(f"{column.title} {text}" for column, text in cells if column.ratio is None)
            texts = [f"  {column.title}: {text}" for column, text in cells if column.ratio is not None]
            yield Text("\n".join((numbers, *texts)), style=_style(row.chunk) or "")


SETTINGS: tuple[tuple[str, Callable[[Chunk], str]], ...] = (
    ("steps", values.steps),
    ("noise", values.noise_scale),
    ("bias", values.attention_bias),
)


def _settings(chunk: Chunk) -> tuple[object, ...]:
    """Return the values of a chunk that `SETTINGS` show."""
    return chunk.denoising_steps, chunk.noise_scale, chunk.noise_controller, chunk.attention_bias


def constant_setting(distinct: Sequence[Chunk], show: Callable[[Chunk], str]) -> str:
    """Return the text that all chunks share, or "". `distinct`: from `distinct_settings`."""
    texts = {show(chunk) for chunk in distinct}
    return texts.pop() if len(texts) == 1 else ""


def distinct_settings(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return one chunk for each combination of settings."""
    return list({_settings(chunk): chunk for chunk in chunks}.values())


def _rows(plan: Plan) -> Iterator[Row]:
    shares = shares_of(plan.chunks)
    sources = ["+".join(words) for words in sources_of(plan)]
    with_entries = {landing.chunk for landing in plan.landings}
    fold = len(plan.chunks) > FOLDED_FROM

    def breaks(chunk: Chunk) -> bool:
        before = plan.chunks[chunk.index - 1]
        steered_alike = sources[chunk.index] == sources[before.index] and chunk.vace == before.vace
        has_entries = bool({chunk.index, before.index} & with_entries)
        return not fold or has_entries or not steered_alike or not _continues(before, chunk)

    runs = 0
    run_of = [runs := runs + breaks(chunk) for chunk in plan.chunks]
    for _, group in groupby(plan.chunks, key=lambda chunk: run_of[chunk.index]):
        members = list(group)
        first = members[0].index
        yield Row(members[0], members[-1], shares[first], sources[first])


def _continues(before: Chunk, chunk: Chunk) -> bool:
    """Return True if a chunk continues its predecessor without any change."""
    quiet = not (chunk.cut or chunk.text_changed or before.cut or before.text_changed)
    alike = chunk.seed == before.seed and chunk.keep == before.keep
    alike = alike and chunk.noise_scale == before.noise_scale and not chunk.lora_changed
    return quiet and alike and _settings(before) == _settings(chunk)


def _columns(plan: Plan, rows: Sequence[Row], distinct: Sequence[Chunk]) -> Iterator[Column]:
    yield Column("chunk", lambda row: _span(row.chunk.index, row.last.index), "right")
    yield Column("frames", lambda row: _span(row.chunk.first_frame, row.last.last_frame), "right")
    yield Column("keep", _keep, "right")
    if plan.post_processors and any(plan.delivered(chunk) != _kept(chunk) for chunk in plan.chunks):
        yield Column("out", lambda row: _out(plan, row), "right")
    if any(values.event(chunk) for chunk in plan.chunks[1:]):
        yield Column("event", lambda row: values.event(row.chunk), ratio=2)
    yield Column("prompt", _prompt, ratio=3)
    if any(row.sources for row in rows):
        yield Column("vace", _vace, ratio=2)
    yield Column("seed", lambda row: str(row.chunk.noise_seed), "right")
    for name, show in SETTINGS:
        if not constant_setting(distinct, show) and any(show(chunk) for chunk in distinct):
            yield Column(name, lambda row, show=show: show(row.chunk))  # type: ignore[misc]  # a lambda in a loop
    moving = [lora.scales for lora in lora_scales(plan) if not lora.constant]
    if moving:
        yield Column(
            "lora",
            lambda row: " ".join(f"{scales[row.chunk.index]:.2f}" for scales in moving),
            ratio=None if len(moving) <= WIDE_LORAS else 2,
        )


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _keep(row: Row) -> str:
    """Return the delivered frames of a chunk, "4/12" if it has more."""
    all_frames = "" if row.chunk.keep == row.chunk.frames else f"/{row.chunk.frames}"
    return f"{row.chunk.keep}{all_frames}"


def _kept(chunk: Chunk) -> range:
    return range(chunk.first_frame, chunk.first_frame + chunk.keep)


def _out(plan: Plan, row: Row) -> str:
    """Return the range of output frames, from 0; "none" if a processor holds them back."""
    first, end = plan.delivered(row.chunk).start, plan.delivered(row.last).stop
    return _span(first, end - 1) if end > first else "none"


def _vace(row: Row) -> str:
    """Return "control+mask 0.50": the VACE inputs, and their scale unless it is 1."""
    vace = row.chunk.vace
    return row.sources if vace is None or vace.scale == 1 else f"{row.sources} {vace.scale:.2f}"


def _prompt(row: Row) -> str:
    """Return the new prompt, or "" if the prompt does not change."""
    chunk = row.chunk
    if not chunk.text_changed:
        return ""
    conditioning = chunk.conditioning
    if isinstance(conditioning, Transition):
        target = _blend(conditioning.target.prompts)
        return f"{conditioning.step + 1}/{conditioning.steps} ({conditioning.t:.0%}) to {target}"
    return _blend(row.shares)


def _blend(prompts: Sequence[Prompt]) -> str:
    if len(prompts) == 1:
        return _short(prompts[0].text)
    return " + ".join(f"{prompt.weight:.0%} {_short(prompt.text)}" for prompt in prompts)


def _short(text: str, longest: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1].rstrip() + "…"


def _style(chunk: Chunk) -> str | None:
    if chunk.cut and chunk.index > 0:
        return "red"
    return "yellow" if chunk.text_changed and chunk.index > 0 else None
