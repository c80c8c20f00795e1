"""Reads keyframes of a schedule: `{0: 0.0, 48: 1.0}`, or Deforum's text `0:(0.0), max_f/2:(1.0 - 0.5*sin(t))`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scope_batch.job.expression import Expression, read_expression, short

KEY_VARIABLES = ("s", "max_f")
VALUE_VARIABLES = ("t", "s", "max_f", "sec", "chunk")
MAX_FRAME = 10_000_000
MAX_TEXT = 100_000
EXAMPLE = '"0:(0.5), 48:(0.5 + 0.1*sin(t))"'
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Keyframe:
    """`value` at delivered frame `frame` (from 0). Numbers are interpolated, an expression lasts until the next key."""

    frame: int | Expression
    value: float | Expression


def read_keyframes(text: str) -> tuple[Keyframe, ...]:
    """Return the keys of a Deforum text, in the order of the text. Raises ValueError with the reason."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"a schedule of {len(text)} characters; at most {MAX_TEXT} are allowed")
    keys = tuple(_keyframe(part) for part in _parts(text))
    if not keys:
        raise ValueError(f"must be keyframes, such as {EXAMPLE}")
    return keys


def read_frame(text: str) -> int | None:
    """Return the frame number in a map's key, or None."""
    if not text.isascii() or not text.isdecimal() or (text[0] == "0" and text != "0") or len(text) > 8:
        return None
    return int(text) if int(text) <= MAX_FRAME else None


def _parts(text: str) -> Iterator[str]:
    """Split a text at commas outside all brackets; a trailing comma is allowed."""
    depth = start = 0
    for position, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    if text[start:].strip():
        yield text[start:]


def _keyframe(part: str) -> Keyframe:
    key, colon, value = part.partition(":")
    key, value = key.strip(), value.strip()
    if not colon or not key:
        raise ValueError(f"{short(part.strip())} is not a keyframe, frame:(value), such as {EXAMPLE}")
    if not _in_parentheses(value):
        raise ValueError(f"{short(part.strip())}: a keyframe's value needs parentheses, such as {EXAMPLE}")
    if key[0] in "\"'" and key[-1] == key[0]:
        key = key[1:-1].strip()
    frame = read_frame(key)
    return Keyframe(read_expression(key, KEY_VARIABLES) if frame is None else frame, _value(value[1:-1]))


def _in_parentheses(text: str) -> bool:
    """Return True if the last character closes the parenthesis that the first one opens."""
    if not (text.startswith("(") and text.endswith(")")):
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0:
            return position == len(text) - 1
    return False


def _value(text: str) -> float | Expression:
    expression = read_expression(text, VALUE_VARIABLES)
    number = expression.number
    return expression if number is None else number
