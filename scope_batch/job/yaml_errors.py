"""Words YAML's errors with advice, and joins JSON escapes that YAML does not know."""

from __future__ import annotations

import json
import re

import yaml

MAX_SHOWN = 100
"""Characters of a text in a message."""
_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_AFTER_BACKSLASHES = re.compile(rf"(?<!\\)((?:\\\\)*){_PAIR.pattern}")
_KEY_AND_TEXT = re.compile(r"\s*(?:- )*(?P<key>[^\s:\"'][^:]*):\s+(?P<text>[^\s\"'].*)")
_ESCAPE = "in double quotes \\ begins an escape; write a path with / or in single quotes, or \\\\ for the character"
TAB = "a tab indents this line; indent with spaces"
_ADVICE = {
    "could not find expected ':'": "a line that is not `key: value`; a text that continues in the next line is "
    "indented deeper than its key, or quoted",
    "block sequence entries are not allowed": "a text that begins with - needs quotes, and a list begins in a new line",
    "mapping keys are not allowed": "a text that begins with ? needs quotes",
    "did not find expected alphabetic": "a text that begins with * or & needs quotes",
    "did not find expected comment or line break": "after | or > the line ends; a text that begins with one needs "
    "quotes",
    "did not find expected <document start>": "this line is indented less than the first one",
    "did not find expected '-' indicator": "a list holds only items; a key needs the indentation of its map",
    "did not find expected ',' or ']'": "a list [ is not closed by ], or a text in it needs quotes",
    "did not find expected ',' or '}'": "a map { is not closed by }, or a text in it needs quotes",
    "found unexpected end of stream": "the closing quote is missing",
    "found a tab character": TAB,
    "found unknown escape character": _ESCAPE,
    "did not find expected hexdecimal number": _ESCAPE,
    "found invalid Unicode character escape code": "an escape \\uD800 to \\uDFFF is half of a character; write the "
    "character itself",
}
"""Beginning of a libyaml message -> message of this program."""


def join_json_pairs(text: str) -> str:
    """Join escapes: JSON writes a character beyond U+FFFF as two, \\ud83d\\ude00; YAML writes \\U0001f600."""
    return _AFTER_BACKSLASHES.sub(lambda match: match[1] + _joined(match[2], match[3]), text)


def join_pair_at(error: yaml.MarkedYAMLError, text: str) -> str | None:
    """Join the pair of escapes that `error` is about. Returns None if it is about something else."""
    if error.problem_mark is None or "escape code" not in (error.problem or ""):
        return None
    start = error.problem_mark.index - len("\\u")
    match = _PAIR.match(text, max(start, 0))
    return None if match is None else text[:start] + _joined(match[1], match[2]) + text[match.end() :]


def _joined(high: str, low: str) -> str:
    return f"\\U{0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00):08x}"


def yaml_advice(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    """Return the fault and how to fix it."""
    problem = error.problem or error.context or "no YAML"
    mark = error.problem_mark
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    column = 0 if mark is None else mark.column
    if problem.startswith("mapping values are not allowed"):
        return _about_colon(line)
    if problem.startswith("found character that cannot start"):
        first = line[column : column + 1]
        return TAB if first == "\t" else f"a text that begins with {first} needs quotes"
    if problem.startswith("did not find expected key"):
        return _about_text_behind_quotes(line, column)
    return next((advice for beginning, advice in _ADVICE.items() if problem.startswith(beginning)), problem)


def _about_colon(line: str) -> str:
    written = _KEY_AND_TEXT.fullmatch(line)
    if written is None or ": " not in f"{written['text']} ":
        return "this line is indented deeper than the key above it; if it belongs to a text, the text needs quotes"
    text = written["text"] if len(written["text"]) <= MAX_SHOWN else f"{written['text'][:MAX_SHOWN]}..."
    quoted = json.dumps(text, ensure_ascii=False)
    return f"a colon and a space end a key, so put the text in quotes: {written['key']}: {quoted}"


def _about_text_behind_quotes(line: str, column: int) -> str:
    if '"' not in line[:column] and "'" not in line[:column]:
        return "this line is indented less than the key above it, but more than the map around it"
    return "a text ends at its closing quote; inside '...' write '' for a quote, inside \"...\" write \\\""
