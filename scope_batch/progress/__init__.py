"""Shows a running render: as a bar, plain lines, JSON lines, or only its errors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from scope_batch.progress.lines import JsonLines, PlainLines
from scope_batch.progress.reporter import Display, Reporter
from scope_batch.progress.stream import Nowhere, TolerantStream
from scope_batch.progress.summary import LONE_JOB, Batch

Style = Literal["auto", "rich", "plain", "json", "none"]

__all__ = [
    "LONE_JOB", "Batch", "Display", "JsonLines", "Nowhere", "PlainLines", "Reporter", "Style", "TolerantStream",
    "displays", "resolved",
]  # fmt: skip


def displays(style: Style, stream: TolerantStream, job: str, origin_s: float) -> Sequence[Display]:
    """Return the displays of `job` on `stream` in this style; `origin_s`: time 0 of JSON lines (monotonic clock)."""
    match resolved(style, stream, os.environ):
        case "rich":
            from scope_batch.progress.bar import Bar  # importing rich.live is slow

            return [Bar(stream, forced=style == "rich")]
        case "plain":
            return [PlainLines(stream, job=job)]
        case "json":
            return [JsonLines(stream, job, origin_s)]
    return []


def resolved(style: Style, stream: TolerantStream, environment: Mapping[str, str]) -> Style:
    """Resolve "auto", and use plain lines on a terminal that cannot move its cursor."""
    if style not in ("auto", "rich"):
        return style
    dumb = environment.get("TERM", "").lower() in ("dumb", "unknown")
    return "rich" if not dumb and (style == "rich" or stream.isatty()) else "plain"
