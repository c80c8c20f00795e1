"""Turns a document's nodes into plain values, with environment variables replaced and input paths made absolute."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from scope_batch.files.urls import copy_path, is_url
from scope_batch.job.faults import Loc, shown
from scope_batch.job.paths import PATH_FIELDS, TEXT_FIELDS, WORDS, field_of
from scope_batch.job.positions import Mark, Origin, show
from scope_batch.job.scalars import expand_home
from scope_batch.job.yaml_reader import ListNode, MapNode, Node, ScalarNode, plain_scalar

PROMPT_TEXTS = ("prompt", "text")
_HASHTAG = re.compile(r"#[^\s#]")
"""The beginning of a comment that looks like part of a text: #1, #sunset."""
MAX_TEXT = 100
"""Characters of a text inside a message."""


@dataclass(slots=True)
class Values:
    """`data`: the values for the job's model. `marks`: positions of its parts in the text. `problems`: mark and line of
    each. `warnings`: about texts that YAML reads as comments."""

    data: Any = None
    marks: dict[Loc, Mark] = field(default_factory=dict)
    problems: list[tuple[Mark, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(
        self,
        node: Node,
        origin: Origin,
        loc: Loc = (),
        key: tuple[int, int] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the plain value of `node` at `loc`. Without `environ`, variables are not replaced."""
        mark = Mark(origin, key or node.position, node.position)
        self.marks[loc] = mark
        if isinstance(node, MapNode):
            return self._map(node, origin, loc, environ)
        if isinstance(node, ListNode):
            return [self.add(item, origin, (*loc, index), None, environ) for index, item in enumerate(node.items)]
        assert isinstance(node, ScalarNode)
        if field_of(loc) in PROMPT_TEXTS and _HASHTAG.match(node.comment):
            message = f"{shown(node.comment)} is a comment, no part of the text; quotes keep it in"
            self.warnings.append(f"{mark.at_value()}: {show(loc)}: {message}")
        return self._placed(self._scalar(node, mark, loc, environ), origin, loc)

    def _map(self, node: MapNode, origin: Origin, loc: Loc, environ: Mapping[str, str] | None) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for written, (position, value) in node.entries.items():
            name = placed_key(written, origin, loc)
            if name in values:
                mark, first = Mark(origin, position, value.position), self.marks[(*loc, name)].key[0]
                message = f"the file is listed twice, first in line {first}"
                self.problems.append((mark, f"{mark.at_key()}: {show((*loc, written))}: {message}"))
                # A problem is reported only while its mark is in `marks`.
                self.marks[(*loc, written)] = mark
                continue
            values[name] = self.add(value, origin, (*loc, name), position, environ)
        self._report_commas(node, origin, loc)
        return values

    def _report_commas(self, node: MapNode, origin: Origin, loc: Loc) -> None:
        """Report keys without a value: in `{text: a cat, best quality}` the comma ends the text, and a key follows."""
        written = [*node.entries.items()]
        for index, (key, (position, value)) in enumerate(written):
            before = written[index - 1][1][1] if index else None
            if not _lacks_colon(value) or _lacks_colon(before):
                continue
            rest = [name for name, _ in takewhile(lambda entry: _lacks_colon(entry[1][1]), written[index:])]
            mark = Mark(origin, position, position)
            # One line covers all of them; an error of the schema at the same mark is left out.
            self.marks.update(((*loc, placed_key(name, origin, loc)), mark) for name in rest)
            message = "unknown key without a value" if index else "a key without a value"
            if isinstance(before, ScalarNode) and isinstance(before.value, str):
                text = ", ".join((before.text, *rest))
                quoted = json.dumps(text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}...", ensure_ascii=False)
                message += "; a comma ends a text inside { }, "
                message += f"put the text in quotes: {written[index - 1][0]}: {quoted}"
            elif ":" in key.strip(":"):
                message += f"; a colon needs a space behind it: {': '.join(key.split(':', 1))}"
            self.problems.append((mark, f"{mark.at_key()}: {show((*loc, key))}: {message}"))

    def move(self, moved: Mapping[Loc, Loc]) -> None:
        """Move marks from old places to new ones; the innermost old place decides."""
        lengths = sorted({len(old) for old in moved}, reverse=True)
        for loc, mark in [*self.marks.items()]:
            old = next((loc[:length] for length in lengths if loc[:length] in moved), None)
            if old is not None:
                self.marks[moved[old] + loc[len(old) :]] = mark
        for old, new in moved.items():
            self.marks.setdefault(new[:1], self.marks[old[:1]])

    def _scalar(self, node: ScalarNode, mark: Mark, loc: Loc, environ: Mapping[str, str] | None) -> Any:
        if environ is None or "$" not in node.text:
            return node.value
        if has_variable(node.text):
            mark = self.marks[loc] = replace(mark, written=node.text)
        try:
            text = replace_variables(node.text, environ)
            return _as_number(text) if node.plain and field_of(loc) not in TEXT_FIELDS else text
        except ValueError as error:
            self.problems.append((mark, f"{mark.at_value()}: {show(loc)}: {error}"))
            return node.text

    @staticmethod
    def _placed(value: Any, origin: Origin, loc: Loc) -> Any:
        """Make an input path absolute, starting at its text's folder. The schema reports values that are not paths."""
        name = field_of(loc)
        if (
            origin.folder is None
            or name not in PATH_FIELDS
            or not isinstance(value, str)
            or value in WORDS.get(name, ())
        ):
            return value
        if not value.strip() or value.startswith("~") or "\0" in value or is_url(value):
            return value
        return str(origin.folder / value)


def _lacks_colon(node: Node | None) -> bool:
    return isinstance(node, ScalarNode) and not node.colon


def placed_key(key: str, origin: Origin, loc: Loc) -> str:
    """Return a key of the map at `loc`. Keys of `lora_scales` are input paths, relative to their text's folder."""
    if origin.folder is None or loc[-1:] != ("lora_scales",):
        return key
    try:
        path = str(copy_path(key)) if is_url(key) else expand_home(key)
    except ValueError:  # the schema reports the error
        return key
    return str(origin.folder / path) if key.strip() and "\0" not in key else key


def _as_number(text: str) -> Any:
    """Convert an unquoted value with replaced variables to a number or truth value, if it is one."""
    value = plain_scalar(text)
    return text if value is None else value


_DOLLAR = re.compile(r"\$(?:(?P<escape>\$)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<kind>:[-?])(?P<word>[^{}]*))?\}|(?P<bad>\{))")


def replace_variables(text: str, environ: Mapping[str, str]) -> str:
    """Replace the variables in `text`. Raises ValueError for one that is not set or malformed.

    `${VAR:-default}` and `${VAR:?message}` treat an empty variable as not set; a lone `$` stays.
    """

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "$"
        if match["bad"]:
            raise ValueError("${ must be followed by NAME}, NAME:-default} or NAME:?message}; $${ is a literal ${")
        return _value(match["name"], match["kind"], match["word"], environ)

    return _DOLLAR.sub(value, text)


def has_variable(text: str) -> bool:
    return any(match["name"] for match in _DOLLAR.finditer(text))


def _value(name: str, kind: str | None, word: str | None, environ: Mapping[str, str]) -> str:
    content = environ.get(name)
    if kind is None:
        if content is None:
            raise ValueError(f"the environment variable {name} is not set; ${{{name}:-default}} gives a default")
        return content
    if not content and kind == ":?":
        raise ValueError(f"the environment variable {name} is not set: {' '.join((word or 'it is needed').split())}")
    return content or word or ""
