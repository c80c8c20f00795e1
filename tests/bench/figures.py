"""Defines the results of a benchmark and prints them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured quantity: every value, in the order measured.

    at_least, at_most  the bound that the median is to keep, in `unit`; None = there is none, it is only reported.
    note               what the value was made from.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """ "ok", "missed", or "" without a bound."""
        if self.at_least is None and self.at_most is None:
            return ""
        low = self.at_least is not None and self.median < self.at_least
        high = self.at_most is not None and self.median > self.at_most
        return "missed" if low or high else "ok"

    @property
    def bound(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "median": self.median, "verdict": self.verdict}


@contextmanager
def stopwatch(into: list[float]) -> Iterator[None]:
    """Append the seconds of the with-body."""
    began_s = time.perf_counter()
    yield
    into.append(time.perf_counter() - began_s)


def shares(part: list[float], whole: list[float]) -> tuple[float, ...]:
    """Return the ratio of neighbouring measurements in percent; neighbours in time see the same machine load."""
    return tuple(100 * a / b for a, b in zip(part, whole, strict=True))


def table(figures: list[Figure]) -> str:
    """Format one line per figure: median, range, count, bound."""
    rows = [("figure", "median", "min .. max", "n", "bound", "", "note")]
    for figure in figures:
        span = f"{_short(min(figure.values))} .. {_short(max(figure.values))}"
        median = f"{_short(figure.median)} {figure.unit}"
        rows.append((figure.name, median, span, str(len(figure.values)), figure.bound, figure.verdict, figure.note))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def load() -> float:
    """Return the mean number of runnable processes in the last minute."""
    return round(os.getloadavg()[0], 2)


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, memory, load, Python."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib, 1),
        "python": platform.python_version(),
        "load": load(),
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
