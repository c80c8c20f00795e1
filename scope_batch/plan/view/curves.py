"""Prints every value that changes over a plan as one row: `lora dissolve  0.00 ▁▂▄▆█ 1.00`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from scope_batch.core.plan import Plan
from scope_batch.plan.loras import lora_names

LONGEST_NAME = 28


@dataclass(frozen=True, slots=True)
class Scales:
    """One LoRA's scale per chunk. `form`: "merged" or "side branch"."""

    name: str
    scales: tuple[float, ...]
    form: str

    @property
    def constant(self) -> bool:
        return len({*self.scales}) == 1


def lora_scales(plan: Plan) -> list[Scales]:
    """Return the scales of each LoRA in the plan's order, named without suffix."""
    return [
        Scales(
            name.removesuffix(".safetensors"),
            tuple(chunk.lora_scales[position] for chunk in plan.chunks),
            "merged" if use.merged else "side branch",
        )
        for position, (name, use) in enumerate(zip(lora_names(plan.loras), plan.loras, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class Curves:
    """Rows for all numbers that change, as wide as the terminal allows."""

    plan: Plan

    def __bool__(self) -> bool:
        return next(self._changing(), None) is not None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [(_short(name), f"{values[0]:.2f}", f"{values[-1]:.2f}", values) for name, values in self._changing()]
        names, firsts = (max(len(row[part]) for row in rows) for part in (0, 1))
        columns = min(MAX_COLUMNS, max(1, options.max_width - names - firsts - max(len(row[2]) for row in rows) - 4))
        for name, first, last, values in rows:
            line = sparkline(values, columns)
            yield Text.assemble(f"{name:<{names}}  {first:>{firsts}} ", (line, "cyan"), f" {last}", no_wrap=True)

    def _changing(self) -> Iterator[tuple[str, Sequence[float]]]:
        chunks = self.plan.chunks
        noise = [chunk.noise_scale for chunk in chunks if chunk.noise_scale is not None]
        vace = [chunk.vace.scale for chunk in chunks if chunk.vace is not None]
        bias = [chunk.attention_bias for chunk in chunks if chunk.attention_bias is not None]
        loras = [(f"lora {lora.name}", lora.scales) for lora in lora_scales(self.plan)]
        for name, values in (("noise", noise), ("vace", vace), ("bias", bias), *loras):
            if len({*values}) > 1:
                yield name, values


def _short(name: str) -> str:
    """Shorten a long name at its start, as its end is more specific."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


BLOCKS = "▁▂▃▄▅▆▇█"
MAX_COLUMNS = 60
HALF = 0.5 + 1e-9
"""Rounds halves up, also after a rounding error."""


def sparkline(values: Sequence[float], columns: int = MAX_COLUMNS) -> str:
    """Return a bar of blocks, one per value, at most `columns`, from the lowest value to the highest.

    If values share a column, it shows the one that differs most from the column before, so that no peak is lost.
    """
    low, high = min(values), max(values)
    steps = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[int((value - low) * steps + HALF)] for value in _sampled(values, columns))


def _sampled(values: Sequence[float], columns: int) -> Iterator[float]:
    columns = min(columns, len(values))
    previous = values[0]
    for column in range(columns):
        group = values[column * len(values) // columns : (column + 1) * len(values) // columns]
        previous = values[0] if column == 0 else max(group, key=lambda value: abs(value - previous))
        yield previous
