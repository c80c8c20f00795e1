"""Records the source of a job: names, folders, and the line and column of every field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from scope_batch.job.faults import Loc


@dataclass(frozen=True, slots=True)
class Origin:
    """A text that holds fields. `name` is shown in messages; relative paths in the text start at `folder`.

    Without a folder the names of files stay as they are written: a server looks them up among those of its clients.
    """

    name: str
    folder: Path | None
    has_lines: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """Position of one field: line and column (from 1) of its key and of its value, which are the same for a list item.

    `written`: the value before `${VAR}` was replaced, None if it has no variable.
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

    warnings  about parts of the text that are not in the job.
    """

    name: str = ""
    stem: str = "job"
    marks: Mapping[Loc, Mark] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    def known(self, loc: Loc) -> tuple[Loc, Mark | None]:
        """Return the innermost place on the way to `loc` that is in the text, and its mark.

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
        """Return `job.yaml:14:7`; the text's name if the field is not in it; the field's name if there is no text."""
        place, mark = self.known(loc)
        if mark is None:
            return show(loc)
        return mark.at_key() if place or not loc else self.name


MAX_SHOWN = 80
"""Characters of a key in a message."""


def show(loc: Loc) -> str:
    """Format a place as `chunk_specs[2].text`; a LoRA's path is shortened to its file name."""
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
