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
    """One LoRA's scale per chunk. `form`: how it is applied."""

    name: str
    scales: tuple[float, ...]
    form: str

    @property
    def constant(self) -> bool:
        return len({*self.scales}) == 1


def lora_scales(plan: Plan) -> list[Scales]:
    """In the plan's order, named without their suffix."""
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
    """The rows, one for every number that changes; as wide as the terminal allows."""

    plan: Plan

    def __bool__(self) -> bool:
        return next(self._moving(), None) is not None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [(_short(name), f"{values[0]:.2f}", f"{values[-1]:.2f}", values) for name, values in self._moving()]
        names, firsts = (max(len(row[part]) for row in rows) for part in (0, 1))
        columns = min(MAX_COLUMNS, max(1, options.max_width - names - firsts - max(len(row[2]) for row in rows) - 4))
        for name, first, last, values in rows:
            line = sparkline(values, columns)
            yield Text.assemble(f"{name:<{names}}  {first:>{firsts}} ", (line, "cyan"), f" {last}", no_wrap=True)

    def _moving(self) -> Iterator[tuple[str, Sequence[float]]]:
        chunks = self.plan.chunks
        noise = [chunk.noise_scale for chunk in chunks if chunk.noise_scale is not None]
        vace = [chunk.vace.scale for chunk in chunks if chunk.vace is not None]
        bias = [chunk.attention_bias for chunk in chunks if chunk.attention_bias is not None]
        loras = [(f"lora {lora.name}", lora.scales) for lora in lora_scales(self.plan)]
        for name, values in (("noise", noise), ("vace", vace), ("bias", bias), *loras):
            if len({*values}) > 1:
                yield name, values


def _short(name: str) -> str:
    """Shortens a long name at its start: the end is more specific."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


BLOCKS = "▁▂▃▄▅▆▇█"
MAX_COLUMNS = 60
HALF = 0.5 + 1e-9
"""Rounds halves up, also those that a rounding error keeps just below."""


def sparkline(values: Sequence[float], columns: int = MAX_COLUMNS) -> str:
    """A block per value, the least the lowest and the most the highest, at most `columns` of them.

    Of values that share a column the one shows that is farthest from the column before, so that no peak is lost.
    """
    low, high = min(values), max(values)
    steps = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[int((value - low) * steps + HALF)] for value in _sampled(values, columns))


def _sampled(values: Sequence[float], columns: int) -> Iterator[float]:
    columns = min(columns, len(values))
    shown = values[0]
    for column in range(columns):
        share = values[column * len(values) // columns : (column + 1) * len(values) // columns]
        shown = values[0] if column == 0 else max(share, key=lambda value: abs(value - shown))
        yield shown
