"""Numbers over time as one line of text, `▁▂▄▆█`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
