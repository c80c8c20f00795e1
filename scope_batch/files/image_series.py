"""Numbered pictures: the files of a folder or of a pattern, in natural order, and whether they are one whole series.

A pattern is `frames/%05d.png` or `frames/depth_*.png`; only the file's name may be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import reduce
from itertools import groupby, islice, pairwise
from math import gcd
from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".apng")
SHOWN = 4
"""How many series or gaps a message names."""

_NUMBER = re.compile(r"%(0?)(\d*)d")
_DIGITS = re.compile(r"[0-9]+")


def is_pattern(path: Path) -> bool:
    """Whether the name stands for several files; what exists under the very name is no pattern."""
    if not (_NUMBER.search(path.name) or set("*?") & set(path.name)):
        return False
    try:
        return not path.exists()
    except OSError:  # longer than any name may be
        return True


def pattern_files(pattern: Path) -> list[Path]:
    """The existing pictures that a pattern names, in natural order."""
    if not pattern.parent.is_dir():
        return []
    if _NUMBER.search(pattern.name):
        parts = [re.escape(part) for part in re.split(_NUMBER, pattern.name)[::3]]
        widths = [(bool(zero), int(width or 0)) for zero, width in _NUMBER.findall(pattern.name)]
        numbers = [rf"[0-9]{{{width},}}" if zero and width else r"[0-9]+" for zero, width in widths]
        name = re.compile("".join(part + number for part, number in zip(parts, [*numbers, ""], strict=True)))
        found = (path for path in pattern.parent.iterdir() if name.fullmatch(path.name))
    else:
        found = (path for path in pattern.parent.iterdir() if fnmatchcase(path.name, pattern.name))
    return _pictures(found)


def folder_files(folder: Path) -> list[Path]:
    """The pictures of a folder, in natural order. Files with other names are no part of it, nor are hidden ones."""
    return _pictures(folder.iterdir())


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which runs of digits compare as numbers: 2 before 10."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return (*((0, int(digits), "") if digits else (1, 0, text) for digits, text in parts), (2, 0, name))


def doubts(names: Sequence[str]) -> list[str]:
    """What speaks against names in natural order being one whole series: other series among them, missing numbers."""
    series = [list(found) for _, found in groupby(sorted(names, key=_stem_key), key=_stem_key)]
    series = [part for found in series for part in _split(found)]
    numbered = [found for found in series if _DIGITS.search(found[0])]
    if not numbered:
        return []
    gaps = [gap for found in numbered if (gap := _gap(found))]
    if len(series) == 1:
        return gaps
    names_of_series = _listed(map(_told, series), len(series))
    return [f"holds {len(series)} series, {names_of_series}, read as one: name one of them by a pattern", *gaps]


def _pictures(found: Iterable[Path]) -> list[Path]:
    pictures = (path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))
    return sorted(pictures, key=lambda path: natural_key(path.name))


def _stem_key(name: str) -> str:
    return _DIGITS.sub("0", name)


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in _DIGITS.findall(name))


def _split(names: list[str]) -> Iterator[list[str]]:
    """Names of one stem: several series where the last number starts anew, at the same number, under each of the
    earlier numbers; times of day do not."""
    names = sorted(names, key=natural_key)
    parts = [list(found) for _, found in groupby(names, key=lambda name: _numbers(name)[:-1])]
    starts = {_numbers(part[0])[-1:] for part in parts}
    yield from parts if len(starts) == 1 and min(map(len, parts)) > 1 else [names]


def _told(names: Sequence[str]) -> str:
    """ "depth_*.png (20)"; a single picture by its name."""
    if len(names) == 1:
        return names[0]
    digits = list(_DIGITS.finditer(names[0]))
    last = digits[-1]
    return f"{names[0][: last.start()]}*{names[0][last.end() :]} ({len(names)})"


def _gap(names: list[str]) -> str | None:
    """Numbers that are missing in a series whose last number alone moves; every tenth picture is no gap."""
    numbers = sorted(_numbers(name) for name in names)
    if len(numbers) < 3 or len({number[:-1] for number in numbers}) > 1:
        return None
    counted = [number[-1] for number in numbers]
    steps = [after - before for before, after in pairwise(counted)]
    step = reduce(gcd, steps) or 1
    missing = sum(after - before for before, after in pairwise(counted)) // step - len(steps)
    if not missing:
        return None
    absent = (number for before, after in pairwise(counted) for number in range(before + step, after, step))
    listed = _listed(map(str, islice(absent, SHOWN)), missing)
    return f"{_told(names)}: {'number' if missing == 1 else 'numbers'} {listed} missing"


def _listed(words: Iterable[str], count: int) -> str:
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    return ", ".join(islice(words, SHOWN)) + more
