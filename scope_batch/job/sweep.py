"""Reads sweeps: keys of a job with several values each. Every combination of the values is one job."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path, PurePath
from typing import Any

from scope_batch.errors import JobError, MissingInputError, UsageError
from scope_batch.job.faults import Loc, shown
from scope_batch.job.overrides import parse_key, read_value
from scope_batch.job.paths import PATH_FIELDS, field_of
from scope_batch.job.positions import Origin
from scope_batch.job.yaml_reader import MAX_BYTES, ListNode, MapNode, Node, ScalarNode, decode, read_document

FIELD = "sweep"
MAX_JOBS = 1000
"""Jobs of one sweep."""
SLOWEST = frozenset(
    (
        "pipeline_id",
        "models",
        "quantization",
        "speed",
        "vae_type",
        "vae_dtype",
        "noise_device",
        "lora_scales",
        "lora_merge",
    )
)
"""Fields whose change loads models anew. Their keys vary slowest, so that as few models as possible are loaded."""
_LISTS = (".yaml", ".yml", ".json")
_NEEDS_LIST = ("{", '"', "'")
MAX_PART = 60
"""Characters of a value in a file name."""


@dataclass(frozen=True, slots=True)
class SweptKey:
    """A key of the job, as for `--set`, and its values.

    origin    text that holds the values; name of the option for those of the command line.
    position  line and column of the key in that text.
    """

    key: str
    values: tuple[Node, ...]
    origin: Origin
    position: tuple[int, int] | None = None

    @property
    def loc(self) -> Loc:
        return parse_key(self.key)

    @property
    def place(self) -> str:
        """Where messages about the key point to."""
        return _place(self.origin, self.position)


def take_sweep(root: MapNode, origin: Origin) -> tuple[MapNode, tuple[SweptKey, ...]]:
    """Return the job without its field `sweep`, and the keys of that. Raises JobError for one that is wrong."""
    position, node = root.entries.get(FIELD, (root.position, None))
    if node is None:
        return root, ()
    rest = replace(root, entries={key: entry for key, entry in root.entries.items() if key != FIELD})
    if isinstance(node, ScalarNode) and node.value is None:
        return rest, ()
    if not isinstance(node, MapNode) or not node.entries:
        what = "not empty" if isinstance(node, MapNode) else f"not {shown(plain(node))}"
        raise JobError(
            f"{_place(origin, position)}: {FIELD}: must be a map of keys and lists of values, such as "
            f"{{seed: [1, 1001]}}, {what}"
        )
    return rest, tuple(_written_key(key, *entry, origin) for key, entry in node.entries.items())


def _written_key(key: str, position: tuple[int, int], node: Node, origin: Origin) -> SweptKey:
    place = _place(origin, position)
    if not isinstance(node, ListNode):
        raise JobError(f"{place}: {FIELD}.{key}: must be a list of values, not {shown(plain(node))}")
    try:
        loc = parse_key(key)
    except UsageError:
        raise JobError(f"{place}: {FIELD}: {key!r} is not a key such as seed or chunk_specs.0.text") from None
    if loc[0] == FIELD:
        raise JobError(f"{place}: {FIELD}: a sweep cannot be swept")
    _check_values(f"{place}: {FIELD}.{key}", node.items)
    return SweptKey(key, node.items, origin, position)


def parse_sweep_option(text: str, folder: Path) -> SweptKey:
    """Read KEY=V1,V2, KEY=[V1, V2] (a list in YAML) or KEY=@FILE (a value in each line, or a list in YAML).

    Relative paths in it start at `folder`. Raises UsageError, MissingInputError or JobError for one that is wrong.
    """
    key, equals, written = text.partition("=")
    name = f"--sweep {key}"
    if not equals or not key:
        raise UsageError(f"--sweep {text}: has no values; write --sweep KEY=V1,V2")
    try:
        loc = parse_key(key)
    except UsageError:
        raise UsageError(f"{name}: not a key such as seed, video.crf or chunk_specs.0.text") from None
    if loc[0] == FIELD:
        raise UsageError(f"{name}: a sweep cannot be swept")
    origin = Origin(name, folder, has_lines=False)
    if written.startswith("@"):
        origin, values = _values_of_file(Path(written[1:]), loc, origin)
    elif written.lstrip().startswith("["):
        values = _items(written, origin)
    else:
        pieces = [piece.strip() for piece in written.split(",")]
        if any(piece.startswith(_NEEDS_LIST) for piece in pieces) and len(pieces) > 1:
            raise UsageError(f"""{name}: values in quotes or braces need a list: --sweep '{key}=["a, b", "c"]'""")
        values = tuple(_piece(piece, loc, origin) for piece in pieces)
    _check_values(origin.name, values)
    return SweptKey(key, values, origin)


def _piece(piece: str, loc: Loc, origin: Origin) -> Node:
    if not piece:
        raise UsageError(f"{origin.name}: a value between commas is empty (null: the field's default)")
    return read_value(piece, loc, origin)


def _items(text: str, origin: Origin) -> tuple[Node, ...]:
    node = read_document(text, origin)
    if not isinstance(node, ListNode):
        raise JobError(f"{origin.name}: must be a list of values, not {shown(plain(node))}")
    return node.items


def _values_of_file(path: Path, loc: Loc, option: Origin) -> tuple[Origin, tuple[Node, ...]]:
    """Return the values in a file. Paths in it are relative to the working directory, as others of the command line."""
    try:
        with path.open("rb") as file:
            text = decode(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        raise MissingInputError(f"{option.name}=@{path}: {error.strerror}") from error
    if path.suffix.lower() in _LISTS:
        origin = Origin(str(path), option.folder)
        return origin, _items(text, origin)
    values = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            raise JobError(f"{path}:{number}:1: is empty; every line is a value of {option.name}")
        node = read_value(line.strip(), loc, Origin(f"{path}:{number}", option.folder, has_lines=False))
        values.append(replace(node, position=(number, 1)))
    return Origin(str(path), option.folder), tuple(values)


def _check_values(place: str, values: Sequence[Node]) -> None:
    if not values:
        raise JobError(f"{place}: has no values")
    seen: set[str] = set()
    for value in values:
        text = value_text(plain(value))
        if not text.strip():
            raise JobError(f"{place}: a value is empty")
        if text in seen:
            raise JobError(f"{place}: {text} is there twice; each value makes a job")
        seen.add(text)


def joined(written: Sequence[SweptKey], options: Sequence[SweptKey], overrides: Sequence[str]) -> list[SweptKey]:
    """Return the keys of a sweep, slowest first: those of the job, with the values of options for the same keys.

    Raises UsageError or JobError for keys that contradict each other, or too many jobs.
    """
    by_loc = {key.loc: key for key in written}
    given: set[Loc] = set()
    for option in options:
        if option.loc in given:
            raise UsageError(f"--sweep {option.key}: is given twice")
        given.add(option.loc)
        by_loc[option.loc] = option
    keys = [*by_loc.values()]
    for index, key in enumerate(keys):
        for other in keys[index + 1 :]:
            shorter, longer = sorted((key, other), key=lambda each: len(each.loc))
            if longer.loc[: len(shorter.loc)] == shorter.loc:
                raise JobError(f"{other.place}: {longer.key} is a part of {shorter.key}, which is swept as well")
        for override in overrides:
            loc = parse_key(override.partition("=")[0])
            if loc[: len(key.loc)] == key.loc or key.loc[: len(loc)] == loc:
                raise UsageError(
                    f"--set {override}: {key.key} is swept; --sweep {key.key}=VALUE gives it a single value"
                )
    jobs = math.prod(len(key.values) for key in keys)
    if jobs > MAX_JOBS:
        counts = " x ".join(str(len(key.values)) for key in keys)
        raise JobError(f"{keys[0].place}: the sweep makes {counts} = {jobs} jobs; at most {MAX_JOBS} are allowed")
    return sorted(keys, key=lambda key: key.loc[0] not in SLOWEST)


def combinations(keys: Sequence[SweptKey]) -> Iterator[list[tuple[SweptKey, Node]]]:
    """Yield every key with its value in one job, job by job; the last key varies fastest. Without keys, one job."""
    for values in product(*(key.values for key in keys)):
        yield [*zip(keys, values, strict=True)]


def without_sweep(overrides: Sequence[str]) -> list[str]:
    """Return `overrides` without `sweep=null`, which leaves the job's sweep out. Raises UsageError for other values."""
    for override in overrides:
        key, _, value = override.partition("=")
        if parse_key(key)[0] == FIELD and (key, value) != (FIELD, "null"):
            raise UsageError(
                f"--set {override}: --sweep KEY=V1,V2 says what is swept; --set {FIELD}=null leaves it out"
            )
    return [override for override in overrides if override != f"{FIELD}=null"]


def plain(node: Node) -> Any:
    """Return a node as a plain value."""
    if isinstance(node, MapNode):
        return {key: plain(value) for key, (_, value) in node.entries.items()}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    assert isinstance(node, ScalarNode)
    return node.value


def value_text(value: Any) -> str:
    """Return a swept value as a text of one line, the same however it is written."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())


def file_name_parts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return for each swept key the text of its value that stands in file names.

    Letters, digits and ._+- are kept. Of the path of an input only the name without suffix is; a long text is cut and
    gets a hash, so that it stays distinct.
    """
    return {key: _file_name_part(key, value) for key, value in values.items()}


def _file_name_part(key: str, value: Any) -> str:
    text = value_text(value)
    if field_of(parse_key(key)) in PATH_FIELDS and isinstance(value, str):
        text = PurePath(text).stem
    part = re.sub(r"[^\w.+-]+", "_", text).strip("_").lstrip("._") or "_"
    if len(part) <= MAX_PART:
        return part
    return f"{part[:MAX_PART]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _place(origin: Origin, position: tuple[int, int] | None) -> str:
    if position is None or not origin.has_lines:
        return origin.name
    return f"{origin.name}:{position[0]}:{position[1]}"
