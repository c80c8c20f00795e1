"""Writes frozen values as one canonical text, so that equal values have the same text in every process."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from pathlib import PurePath
from typing import Any


def canonical(value: Any, path_text: Callable[[PurePath], str] = PurePath.as_posix) -> str:
    """Return the canonical text, the same for equal values: 1, 1.0 and Fraction(1), or mappings in another order.

    Dataclasses are written as their class and every field that counts in comparison; tuples and lists both as
    lists; floats exactly; a path as `path_text` of it. Raises TypeError for a value of any other kind.
    """

    def text(part: Any) -> str:
        return canonical(part, path_text)

    if value is None:
        return "null"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, int):
        return f"{value:d}"
    if isinstance(value, (float, Fraction)):
        return _number(value)
    if isinstance(value, tuple | list):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, PurePath):
        return f"path{json.dumps(path_text(value))}"
    if isinstance(value, Mapping):
        items = sorted((text(key), text(entry)) for key, entry in value.items())
        return f"{{{','.join(f'{key}:{entry}' for key, entry in items)}}}"
    if isinstance(value, range):
        return f"range{canonical([len(value), *value[:1], *([value.step] if len(value) > 1 else [])])}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = [f"{name}={text(getattr(value, name))}" for name in _compared_fields(type(value))]
        return f"{type(value).__name__}({','.join(entries)})"
    raise TypeError(f"{type(value).__name__} has no canonical text: {value!r}")


def _number(value: float | Fraction) -> str:
    """Return the exact ratio, "7/10", or "7" if the denominator is 1."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    numerator, denominator = value.as_integer_ratio()
    return str(numerator) if denominator == 1 else f"{numerator}/{denominator}"


@cache
def _compared_fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind) if field.compare)
