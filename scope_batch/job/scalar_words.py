"""What a plain (unquoted) YAML scalar means: the core schema of YAML 1.2, without the traps of 1.1."""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OCTAL_LOOK = re.compile(r"[-+]?0[0-9]+")
_GROUPED = re.compile(r"[-+]?[0-9]+(_[0-9]+)+(\.[0-9_]*)?")
_MAX_DIGITS = 40


def plain_scalar(text: str) -> Scalar:
    """null, true, false, a number, or the text itself. Raises ValueError for what YAML 1.1 and 1.2 read differently."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _OCTAL_LOOK.fullmatch(text) or _GROUPED.fullmatch(text):
        plain = text.replace("_", "").lstrip("+0") or "0"
        raise ValueError(
            f'{text} is read as different numbers by different tools: write {plain}, or "{text}" for a text'
        )
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a number that a job can use")
    if (integer := _INTEGER.fullmatch(text)) or _BASED.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise ValueError(f"a number of more than {_MAX_DIGITS} digits")
        return int(text) if integer else int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text} is too large")
        return number
    return text
