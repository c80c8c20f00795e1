"""Lists numbered pictures of a folder or a pattern in natural order, and reports gaps and mixed series.

A pattern is `frames/%05d.png` or `frames/depth_*.png`; only the file's name may contain one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import reduce
from itertools import groupby, islice, pairwise
from math import gcd
from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".apng")
SHOWN = 4
"""Most series or gaps that a message names."""

_NUMBER = re.compile(r"%(0?)(\d*)d")
_DIGITS = re.compile(r"[0-9]+")


def is_pattern(path: Path) -> bool:
    """Return whether the name is a pattern of several files. The name of an existing file is not."""
    if not (_NUMBER.search(path.name) or set("*?") & set(path.name)):
        return False
    try:
        return not path.exists()
    except OSError:  # the name is too long
        return True


def pattern_files(pattern: Path) -> list[Path]:
    """Return the existing pictures that match a pattern, in natural order."""
    if not pattern.parent.is_dir():
        return []
    fits = matcher(pattern.name)
    return _pictures(path for path in pattern.parent.iterdir() if fits(path.name))


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a file name matches the pattern `depth_*.png` or `%05d.png`."""
    if not _NUMBER.search(pattern):
        return lambda name: fnmatchcase(name, pattern)
    parts = [re.escape(part) for part in re.split(_NUMBER, pattern)[::3]]
    widths = [(bool(zero), int(width or 0)) for zero, width in _NUMBER.findall(pattern)]
    numbers = [rf"[0-9]{{{width},}}" if zero and width else r"[0-9]+" for zero, width in widths]
    expression = re.compile("".join(part + number for part, number in zip(parts, [*numbers, ""], strict=True)))
    return lambda name: expression.fullmatch(name) is not None


def folder_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder in natural order, without hidden files and other types."""
    return _pictures(folder.iterdir())


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that compares runs of digits as numbers: 2 before 10."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return (*((0, int(digits), "") if digits else (1, 0, text) for digits, text in parts), (2, 0, name))


def series_warnings(names: Sequence[str]) -> list[str]:
    """Return warnings about names in natural order: more than one series, missing numbers."""
    stems = [list(group) for _, group in groupby(sorted(names, key=_stem_key), key=_stem_key)]
    series = [part for stem in stems for part in _split(stem)]
    numbered = [part for part in series if _DIGITS.search(part[0])]
    if not numbered:
        return []
    gaps = [gap for part in numbered if (gap := _gap(part))]
    if len(series) == 1:
        return gaps
    names_of_series = _listed(map(_series_name, series), len(series))
    return [f"holds {len(series)} series, {names_of_series}, read as one: name one of them by a pattern", *gaps]


def _pictures(paths: Iterable[Path]) -> list[Path]:
    pictures = (path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))
    return sorted(pictures, key=lambda path: natural_key(path.name))


def _stem_key(name: str) -> str:
    return _DIGITS.sub("0", name)


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in _DIGITS.findall(name))


def _split(names: list[str]) -> Iterator[list[str]]:
    """Split names of one stem into series, if for each value of the earlier numbers the last one starts at the same
    number. Times of day do not, so they stay one series."""
    names = sorted(names, key=natural_key)
    parts = [list(part) for _, part in groupby(names, key=lambda name: _numbers(name)[:-1])]
    starts = {_numbers(part[0])[-1:] for part in parts}
    yield from parts if len(starts) == 1 and min(map(len, parts)) > 1 else [names]


def _series_name(names: Sequence[str]) -> str:
    """Return "depth_*.png (20)" for a series, and the name of a single picture."""
    if len(names) == 1:
        return names[0]
    digits = list(_DIGITS.finditer(names[0]))
    last = digits[-1]
    return f"{names[0][: last.start()]}*{names[0][last.end() :]} ({len(names)})"


def _gap(names: list[str]) -> str | None:
    """Return a warning about missing numbers, if only the last number varies. A constant step of 10 has no gaps."""
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
    return f"{_series_name(names)}: {'number' if missing == 1 else 'numbers'} {listed} missing"


def _listed(words: Iterable[str], count: int) -> str:
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    return ", ".join(islice(words, SHOWN)) + more
