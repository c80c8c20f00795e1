"""Collects the notes of an import: what the export holds and the job does not, and the reverse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = 60
"""Characters of a value inside a line."""


def one_line(text: str) -> str:
    """Safe inside a comment or a line of a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def shown(value: Any) -> str:
    """A value as JSON, on one line, long ones cut."""
    text = one_line(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


@dataclass(slots=True)
class ImportNotes:
    """Lines for people, in the order in which the export was read."""

    lines: list[str] = field(default_factory=list)

    def left_out(self, place: str, value: Any, why: str) -> None:
        self.lines.append(f"not carried over: {one_line(place)} ({shown(value)}): {one_line(why)}")

    def assumed(self, place: str, what: str) -> None:
        self.lines.append(f"assumed: {one_line(place)}: {one_line(what)}")

    def missing(self, place: str, path: str) -> None:
        self.lines.append(f"missing: {one_line(place)}: no such file: {one_line(path)}; write where it lies")

    def unknown_keys(self, maps: Iterable[Mapping[str, Any]], known: frozenset[str], place: str) -> None:
        """One line per key that nobody reads, however many maps of one kind have it; null means nothing."""
        maps = list(maps)
        found = Counter(key for item in maps for key, value in item.items() if key not in known and value is not None)
        for key, times in found.items():
            value = next(item[key] for item in maps if item.get(key) is not None)
            more = f", {times} times" if times > 1 else ""
            self.left_out(f"{place}.{key}", value, f"not known here{more}")
