"""Converts the sparse lists of the protocol's first revision to entries of `chunk_specs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from scope_batch.job.faults import Loc
from scope_batch.job.rules import PLACES, TARGETS, placed_entries


@dataclass(frozen=True, slots=True)
class Sparse:
    """A list of maps {place, `key`: value}. The value becomes `field` of an entry that has none of `taken`."""

    key: str
    kinds: tuple[type, ...]
    field: str
    taken: tuple[str, ...]


LISTS = {
    "chunk_prompts": Sparse("text", (str,), "text", TARGETS),
    "first_frames": Sparse("image", (str, Path), "first_frame_image", ("first_frame_image",)),
    "last_frames": Sparse("image", (str, Path), "last_frame_image", ("last_frame_image",)),
    "vace_ref_images": Sparse("images", (list, tuple), "vace_ref_images", ("vace_ref_images",)),
}
LIST = (list, tuple)
Moved = dict[Loc, Loc]


def fold_first_revision(written: Mapping[str, Any]) -> tuple[dict[str, Any], Moved]:
    """Return the job with those lists folded into `chunk_specs`, and the map of old places to new ones.

    A value joins its chunk's entry if that has none yet. Malformed lists are unchanged: the schema reports them.
    """
    specs = written.get("chunk_specs") or ()
    lists = {
        name: [_plain(item, sparse) for item in items]
        for name, sparse in LISTS.items()
        if isinstance(items := written.get(name), LIST)
    }
    sparse = {name: items for name, items in lists.items() if items and all(_is_item(i, LISTS[name]) for i in items)}
    if not sparse or not isinstance(specs, LIST):
        return dict(written), {}
    folding = _Folding(list(specs))
    for name, items in sparse.items():
        for index, item in enumerate(items):
            folding.add((name, index), item, LISTS[name])
    rest = {key: value for key, value in written.items() if key not in sparse}
    return {**rest, "chunk_specs": folding.entries}, folding.moved


class _Folding:
    def __init__(self, entries: list[Any]) -> None:
        self.entries = entries
        self.moved: Moved = {}
        self._of_chunk = {entry["chunk"]: index for index, entry in placed_entries(entries)}

    def add(self, old: Loc, item: Mapping[str, Any], sparse: Sparse) -> None:
        place = self._of_chunk.get(item.get("chunk"))
        if place is None or any(self.entries[place].get(field) is not None for field in sparse.taken):
            place = len(self.entries)
            self.entries.append({name: value for name, value in item.items() if name != sparse.key})
            self.moved[old] = ("chunk_specs", place)
            if "chunk" in item:
                self._of_chunk.setdefault(item["chunk"], place)
        self.entries[place] = {**self.entries[place], sparse.field: item[sparse.key]}
        self.moved[(*old, sparse.key)] = ("chunk_specs", place, sparse.field)


def _plain(item: Any, sparse: Sparse) -> Any:
    """Return an item, a Python object or a map from a file, as the map of its fields without nulls."""
    if isinstance(item, BaseModel):
        item = {name: getattr(item, name) for name in item.model_fields_set}
    if not isinstance(item, Mapping):
        return item
    return {name: value for name, value in item.items() if value is not None or name not in (*PLACES, sparse.key)}


def _is_item(item: Any, sparse: Sparse) -> bool:
    if not isinstance(item, Mapping) or len(item) != 2 or not isinstance(item.get(sparse.key), sparse.kinds):
        return False
    (place,) = set(item) - {sparse.key}
    if place == "time":
        return True
    return place in PLACES and type(item[place]) is int and item[place] >= 0
