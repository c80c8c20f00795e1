"""Collects the problems (the job is refused), warnings and notes of a plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.errors import JobError
from scope_batch.job.paths import named_inputs

if TYPE_CHECKING:
    from scope_batch.job import Job

SHOWN = 6
"""Chunks that a message names; the rest are only counted."""


@dataclass(slots=True)
class Diagnostics:
    """Messages collected while planning. Problems become lines of one JobError; the plan keeps warnings and notes."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        """Raise JobError if there are problems."""
        if self.problems:
            raise JobError(*self.problems)


def place(job: Job, field: str, *path: str | int) -> str:
    """Return "job.yaml:14:7: chunk_specs[2].seed"; without line and column if the job was not read from a text."""
    where = job.where(field, *path)
    name = field + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{where}: {name}" if ":" in where else name


def places_of_inputs(job: Job) -> dict[Path, str]:
    """Return the first field of the job that names each file, for messages."""
    places: dict[Path, str] = {}
    for loc, path in named_inputs(job):
        places.setdefault(path, place(job, str(loc[0]), *loc[1:]))
    return places


def name_chunks(indices: Iterable[int]) -> str:
    """Return "chunk 3", "chunks 3, 6, 9" or "chunks 1, 2, 3, 4, 5, 6 and 12 more"."""
    indices = list(indices)
    listed = ", ".join(map(str, indices[:SHOWN]))
    more = f" and {len(indices) - SHOWN} more" if len(indices) > SHOWN else ""
    return f"chunk{'s' if len(indices) > 1 else ''} {listed}{more}"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
