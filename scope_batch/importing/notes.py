"""Collects the notes of an import: omitted values, assumed values, and missing files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = 60
"""Characters of a value in a line."""


def one_line(text: str) -> str:
    """Replace the characters of a text that could break a comment or a line of a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def shown(value: Any) -> str:
    """Format a value as JSON on one line; long values are shortened."""
    text = one_line(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


@dataclass(slots=True)
class ImportNotes:
    """Lines for the user, in the order in which the export is read."""

    lines: list[str] = field(default_factory=list)

    def left_out(self, place: str, value: Any, reason: str) -> None:
        self.lines.append(f"not carried over: {one_line(place)} ({shown(value)}): {one_line(reason)}")

    def assumed(self, place: str, assumption: str) -> None:
        self.lines.append(f"assumed: {one_line(place)}: {one_line(assumption)}")

    def missing(self, place: str, path: str) -> None:
        self.lines.append(f"missing: {one_line(place)}: no such file: {one_line(path)}; correct its path in the job")

    def unknown_keys(self, maps: Iterable[Mapping[str, Any]], known: frozenset[str], place: str) -> None:
        """Add one line per unknown key, even if several of the `maps` have it or its value is null."""
        maps = list(maps)
        counts = Counter(key for item in maps for key in item if key not in known)
        for key, times in counts.items():
            value = next((item[key] for item in maps if item.get(key) is not None), None)
            more = f", {times} times" if times > 1 else ""
            self.left_out(f"{place}.{key}", value, f"unknown key{more}")
