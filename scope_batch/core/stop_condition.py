"""Reads and judges conditions such as "sharpness < 0.6 * first", under which a render ends early."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

FIGURES = ("red", "green", "blue", "contrast", "sharpness", "motion", "flicker")
"""Figures of a chunk; see `scope_batch.media.figures.ChunkFigures`."""
EXAMPLE = "sharpness < 0.6 * first"
_CONDITION = re.compile(r"\s*(\w+)\s*([<>])\s*(\d{1,6}(?:\.\d{1,6})?)\s*(\*\s*first)?\s*")

Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class StopCondition:
    """A figure of a chunk is below (or above) a limit, or that multiple of the first chunk's figure."""

    figure: str
    is_above: bool
    limit: float
    of_first: bool

    def limit_for(self, first: Figures) -> float | None:
        """Return the limit in units of the figure, None while the first chunk that has the figure is not known."""
        if not self.of_first:
            return self.limit
        value = first.get(self.figure)
        return None if value is None else self.limit * value

    def is_met(self, first: Figures, now: Figures) -> bool:
        limit, value = self.limit_for(first), now.get(self.figure)
        if limit is None or value is None:
            return False
        return value > limit if self.is_above else value < limit

    def __str__(self) -> str:
        first = " * first" if self.of_first else ""
        return f"{self.figure} {'>' if self.is_above else '<'} {self.limit:g}{first}"


def parse_stop_condition(text: str) -> StopCondition:
    """Raises ValueError for anything but FIGURE < NUMBER or FIGURE > NUMBER, with `* first` behind it or not."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f'must be like "{EXAMPLE}": a figure, < or >, a number, and "* first" or nothing')
    figure, sign, limit, first = found.groups()
    if figure not in FIGURES:
        raise ValueError(f"{figure!r} is no figure; allowed: {', '.join(FIGURES)}")
    return StopCondition(figure, sign == ">", float(limit), first is not None)
