"""Applies `--set key.path=value`, which replaces one value of the job from the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scope_batch.errors import JobError, UsageError
from scope_batch.job.faults import Loc
from scope_batch.job.interpolation import Values, placed_key
from scope_batch.job.paths import OUTPUT_FIELDS, PATH_FIELDS, TEXT_FIELDS, field_of
from scope_batch.job.positions import Mark, Origin, show
from scope_batch.job.yaml_reader import Node, ScalarNode, read_document

_PART = re.compile(r"""(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|(?P<bare>[^."'\s][^.]*))(?:\.(?=.)|$)""")
_YAML_STARTS = ("[", "{", '"', "'")


def apply_override(values: Values, text: str, folder: Path) -> None:
    """Apply one override `key.path=value`. Relative paths in it start at `folder`; `${VAR}` is not replaced.

    Raises UsageError when it is not of the form key.path=value, JobError when the place cannot hold a value.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: has no value; write --set {text}=VALUE")
    loc = parse_key(key)
    origin = Origin(f"--set {key}", folder, has_lines=False)
    set_value(values, loc, read_value(value, loc, origin), origin)


def replaced_overrides(texts: Sequence[str]) -> list[str]:
    """Return warnings about overrides that a later one for the same or an enclosing place makes ineffective."""
    places = [(text, parse_key(text.partition("=")[0])) for text in texts]
    warnings = []
    for index, (text, place) in enumerate(places):
        later = next((by for by, around in places[index + 1 :] if place[: len(around)] == around and by != text), None)
        if later is not None:
            warnings.append(f"--set {text} has no effect: --set {later} comes later")
    return warnings


def set_value(
    values: Values,
    loc: Loc,
    node: Node,
    origin: Origin,
    key: tuple[int, int] | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Put `node` at `loc`, in which list indexes are texts. Raises JobError if `loc` cannot hold a value.

    key      line and column of the key in the text of `origin`; None: those of the value.
    environ  variables for `${VAR}`; None: they are not replaced.
    """
    container, place = _container(values, loc, origin)
    for old in [mark for mark in values.marks if mark[: len(place)] == place]:
        del values.marks[old]
    new = values.add(node, origin, place, key, environ)
    last = place[-1]
    if isinstance(container, list) and last == len(container):
        container.append(new)
    else:
        container[last] = new


LORAS, LORA_SUFFIX = "lora_scales", ".safetensors"


def parse_key(key: str) -> Loc:
    """Split `chunk_specs.0.text` into ("chunk_specs", "0", "text"). Parts with dots need quotes, except LoRA files."""
    parts: list[str] = []
    position, in_lora = 0, False
    while position < len(key):
        match = _PART.match(key, position)
        if match is None:
            break
        part = match["double"] or match["single"] or match["bare"]
        if in_lora and match["bare"]:
            parts[-1] += f".{part}"
        else:
            parts.append(part)
        position = match.end()
        in_lora = match["bare"] is not None and parts[-2:-1] == [LORAS] and not parts[-1].endswith(LORA_SUFFIX)
    if not parts or position != len(key):
        raise UsageError(f"--set {key}: not a key such as seed, video.crf or chunk_specs.0.text")
    return tuple(parts)


def read_value(value: str, loc: Loc, origin: Origin) -> Node:
    """Parse the value as YAML. A text field takes an unquoted value literally: `prompt=cats: a film` is not a map.

    `null` unsets a path; a file of that name is `./null`.
    """
    field = field_of(loc)
    unset = value == "null" and field in PATH_FIELDS | OUTPUT_FIELDS
    if field in TEXT_FIELDS and not unset and not value.startswith(_YAML_STARTS):
        return ScalarNode((1, 1), 1, value, value, plain=True)
    if not value.strip():
        raise UsageError(f"--set {'.'.join(map(str, loc))}=: the value is empty (null: the field's default)")
    return read_document(value, origin)


def _container(values: Values, loc: Loc, origin: Origin) -> tuple[Any, Loc]:
    """Return the container of the value, created if absent, and the place with list indexes as numbers."""
    current, mark = values.data, Mark(origin, (1, 1), (1, 1))
    place: Loc = ()
    for depth, part in enumerate(loc):
        index = _index(current, str(part), place, origin)
        place = (*place, index)
        if depth == len(loc) - 1:
            break
        follow: Any = [] if str(loc[depth + 1]).isdecimal() else {}
        if isinstance(current, list) and index == len(current):
            current.append(follow)
            values.marks[place] = mark
        elif isinstance(current, dict) and current.get(str(index)) is None:
            current[str(index)] = follow
            values.marks[place] = mark
        current = current[index]
    return current, place


def _index(container: Any, part: str, place: Loc, origin: Origin) -> str | int:
    if isinstance(container, dict):
        return placed_key(part, origin, place)
    if not isinstance(container, list):
        raise JobError(f"{origin.name}: {show(place)} is a single value, it has no {part}")
    if not part.isdecimal() or int(part) > len(container):
        last = f"0..{len(container)}" if container else "0"
        raise JobError(f"{origin.name}: {show(place)} is a list, it takes an index in {last} (the last one appends)")
    return int(part)
