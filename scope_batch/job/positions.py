"""Keeps where a job was read from: names, folders, and the line and column of every field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from scope_batch.job.faults import Loc


@dataclass(frozen=True, slots=True)
class Origin:
    """A text that fields come from. `name` is shown in messages, relative paths in the text start at `folder`."""

    name: str
    folder: Path
    has_lines: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """Where one field stands: line and column (from 1) of its key and of its value; a list item has no key of its own.

    `written`: the value before `${VAR}` was replaced, None if there was none.
    """

    origin: Origin
    key: tuple[int, int]
    value: tuple[int, int]
    written: str | None = None

    def at_key(self) -> str:
        return self._at(self.key)

    def at_value(self) -> str:
        return self._at(self.value)

    def _at(self, position: tuple[int, int]) -> str:
        return f"{self.origin.name}:{position[0]}:{position[1]}" if self.origin.has_lines else self.origin.name


@dataclass(frozen=True, slots=True)
class Source:
    """`stem` names the job (for a default output, `{job}`); `marks` has an entry for every field and list item.

    warnings  about what was written and did not become part of the job.
    """

    name: str = ""
    stem: str = "job"
    marks: Mapping[Loc, Mark] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    def known(self, loc: Loc) -> tuple[Loc, Mark | None]:
        """The innermost place on the way to `loc` that stands in the text, and its mark.

        A value that may stand alone is validated as a list of one; the index 0 that this adds is left out.
        """
        place: Loc = ()
        for part in loc:
            if (*place, part) in self.marks:
                place = (*place, part)
            elif part != 0:
                break
        return place, self.marks.get(place)

    def where(self, loc: Loc) -> str:
        """`job.yaml:14:7`, the text's name when the field is not in it, the field's when there is no text."""
        place, mark = self.known(loc)
        if mark is None:
            return show(loc)
        return mark.at_key() if place or not loc else self.name


MAX_SHOWN = 80
"""Characters of a key inside a message."""


def show(loc: Loc) -> str:
    """`chunk_specs[2].text`; of a LoRA's path its file's name."""
    text = ""
    for index, part in enumerate(loc):
        if isinstance(part, str) and loc[index - 1 : index] == ("lora_scales",):
            part = PurePath(part).name or part
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            short = part if len(part) <= MAX_SHOWN else f"{part[:MAX_SHOWN]}..."
            name = short if short.isprintable() and short else repr(short)
            text += f".{name}" if text else name
    return text or "job"


NO_SOURCE = Source()
