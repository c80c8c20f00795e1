"""Reads one YAML text as a tree of nodes that know their line and column, guarded against hostile input.

The tree is built from parser events, so depth and size are checked before anything is built, and an alias is a shared
node, not a copy. Plain (unquoted) scalars follow the core schema of YAML 1.2, without the traps of 1.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from scope_batch.errors import JobError
from scope_batch.job.positions import Origin
from scope_batch.job.yaml_errors import join_json_pairs, join_pair_at, yaml_advice

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_ALIASED = 20_000
"""Nodes that all aliases of a text may refer to."""

MAX_COMMENT = 80
"""Characters of a comment that are read."""

_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
MAX_PAIRS, MAX_PAIRED_TEXT = 50, 100_000
"""Pairs of escapes that are joined, and characters of a text in which they are: it is read again for each pair."""


@dataclass(frozen=True, slots=True)
class Node:
    """`position`: line and column from 1. `size`: number of nodes in it, itself included."""

    position: tuple[int, int]
    size: int


@dataclass(frozen=True, slots=True)
class ScalarNode(Node):
    """`text`: as written. `plain`: without quotes. `colon`: False for the empty value of a key that has no colon.
    `comment`: rest of its line, from # on.
    """

    value: Scalar
    text: str
    plain: bool
    colon: bool = True
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ListNode(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapNode(Node):
    """Keys are texts, as written. A key's entry holds its position and its value."""

    entries: dict[str, tuple[tuple[int, int], Node]]


def decode(data: bytes, name: str) -> str:
    """Decode a job file. Raises JobError if it is too large or not UTF-8."""
    if len(data) > MAX_BYTES:
        raise JobError(f"{name}: larger than {MAX_BYTES // 1024**2} MiB, not a job file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise JobError(f"{name}:{line}:1: not UTF-8 text") from error


def read_document(text: str, origin: Origin) -> Node:
    """Read the only document in `text`. Raises JobError with line and column."""
    if text.lstrip().startswith("{"):
        text = join_json_pairs(text)
    try:
        return _read(text, origin)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{origin.name}:{mark.line + 1}:{mark.column + 1}" if mark and origin.has_lines else origin.name
        if "nesting" in str(error.problem):  # newer parsers have a limit of their own
            raise JobError(f"{place}: nested deeper than {MAX_DEPTH} levels") from error
        raise JobError(f"{place}: not valid YAML: {yaml_advice(error, _BREAK.split(text))}") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = f":{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}" if origin.has_lines else ""
        raise JobError(f"{origin.name}{place}: not valid YAML: a control character") from error


def _read(text: str, origin: Origin) -> Node:
    """Read a text; pairs of JSON escapes are joined only where YAML rejects them, so that other texts are unchanged."""
    for _ in range(MAX_PAIRS if len(text) <= MAX_PAIRED_TEXT else 0):
        try:
            return _Reader(text, origin).document()
        except yaml.MarkedYAMLError as error:
            joined = join_pair_at(error, text)
            if joined is None:
                raise
            text = joined
    return _Reader(text, origin).document()


class _Reader:
    def __init__(self, text: str, origin: Origin) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        self._origin, self._lines = origin, _BREAK.split(text)
        self._anchors: dict[str, Node] = {}
        self._unused: dict[str, Any] = {}
        self._aliased = 0
        self._nodes = 0

    def document(self) -> Node:
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise JobError(f"{self._origin.name}: is empty; a job needs at least a prompt")
        root = self._node(next(self._events), 1)
        next(self._events)
        if not isinstance(event := next(self._events), yaml.StreamEndEvent):
            raise self._error(event, "a second document; a job file holds one")
        for name, scalar in self._unused.items():
            raise self._error(scalar, f"the anchor &{_short(name)} is not used; a text that begins with & needs quotes")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            raise self._error(event, f"the tag {_short(event.tag)} is not allowed; a job holds plain values")
        if depth > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(event, f"more than {MAX_NODES} values, not a job file")
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(event, depth)
        else:
            node = self._map(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
            if isinstance(node, ScalarNode):
                self._unused[event.anchor] = event
        return node

    def _alias(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._error(event, f"the alias *{_short(event.anchor)} has no anchor before it")
        self._unused.pop(event.anchor, None)
        self._aliased += node.size
        if self._aliased > MAX_ALIASED:
            raise self._error(event, f"aliases refer to more than {MAX_ALIASED} values")
        return node

    def _scalar(self, event: Any) -> ScalarNode:
        plain = not event.style
        try:
            value = plain_scalar(event.value) if plain else event.value
        except ValueError as error:
            raise self._error(event, str(error)) from error
        return ScalarNode(_position(event), 1, value, event.value, plain, comment=self._comment(event) if plain else "")

    def _comment(self, event: Any) -> str:
        mark = event.end_mark
        line = self._lines[mark.line] if mark.line < len(self._lines) else ""
        rest = line[mark.column : mark.column + MAX_COMMENT].strip()  # a line may be the whole text
        return rest if rest.startswith("#") else ""

    def _list(self, event: Any, depth: int) -> ListNode:
        items: list[Node] = []
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(inner, depth + 1))
        return ListNode(_position(event), 1 + sum(item.size for item in items), tuple(items))

    def _map(self, event: Any, depth: int) -> MapNode:
        entries: dict[str, tuple[tuple[int, int], Node]] = {}
        merged: list[Node] = []
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent) or key.tag is not None:
                raise self._error(key, "a key must be a plain text")
            value = self._node(next(self._events), depth + 1)
            if isinstance(value, ScalarNode) and value.plain and not value.text and value.position == _end(key):
                value = replace(value, colon=False)
            if key.value == "<<" and not key.style:
                merged += self._to_merge(key, value)
            elif key.value in entries:
                first = entries[key.value][0]
                raise self._error(key, f"the key {_short(key.value)} is here twice, first in line {first[0]}")
            else:
                entries[key.value] = (_position(key), value)
            if key.anchor is not None:
                self._anchors[key.anchor] = ScalarNode(_position(key), 1, key.value, key.value, plain=False)
        for node in merged:
            if isinstance(node, MapNode):
                entries = {**node.entries, **entries}
        return MapNode(_position(event), 1 + sum(1 + node.size for _, node in entries.values()), entries)

    def _to_merge(self, key: Any, value: Node) -> list[Node]:
        """Return the maps that `<<` names; an earlier one wins."""
        maps = list(value.items) if isinstance(value, ListNode) else [value]
        if not all(isinstance(node, MapNode) for node in maps):
            raise self._error(key, "<< takes a map or a list of maps")
        return maps

    def _error(self, event: Any, message: str) -> JobError:
        line, column = _position(event)
        place = f"{self._origin.name}:{line}:{column}" if self._origin.has_lines else self._origin.name
        return JobError(f"{place}: {message}")


def _position(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _end(event: Any) -> tuple[int, int]:
    return event.end_mark.line + 1, event.end_mark.column + 1


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


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
    """Return null, true, false, a number, or the text. Raises ValueError for texts that YAML 1.1 reads differently."""
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
