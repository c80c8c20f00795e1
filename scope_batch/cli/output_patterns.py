"""Fills in `{job}`, `{seed}` and `{hash8}` in the output paths of the command line."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.errors import UsageError

if TYPE_CHECKING:
    from scope_batch.job import Job

STDOUT = "-"
_NAMES = ("job", "seed", "hash8")
_HOLE = re.compile(r"\{([^{}]*)\}")


def refuse_tiny(folder: str | None) -> str | None:
    """`folder`, unless it is the word for the built-in set: UsageError where only a folder makes sense."""
    from scope_batch.models.folder import TINY

    if folder == TINY:
        raise UsageError(f"--models {TINY}: the built-in set is made when a render asks for it; name a folder")
    return folder


def check_pattern(option: str, pattern: str, jobs: int) -> None:
    """Raise UsageError for a hole that has no filling, or when `jobs` > 1 jobs would write one file."""
    if not pattern.strip() or not Path(pattern).name:
        raise UsageError(f"{option} {pattern}: names no file")
    holes = _HOLE.findall(pattern)
    for name in holes:
        if name not in _NAMES:
            raise UsageError(
                f"{option} {pattern}: {{{name}}} is not known; allowed: {', '.join(f'{{{n}}}' for n in _NAMES)}"
            )
    if jobs > 1 and "job" not in holes and pattern != STDOUT:
        raise UsageError(f"{option} {pattern}: {jobs} jobs need {{job}} in it, or each would replace the one before")


def fill(pattern: str, job: Job, stem: str) -> str:
    """`{job}`: the job file's name without its extension; `{seed}`: its first seed; `{hash8}`: of all it asks for."""
    hash8 = hashlib.sha256(job.canonical_json().encode("utf-8", "surrogatepass")).hexdigest()[:8]
    values = {"job": stem, "seed": str(job.seed.at(0)), "hash8": hash8}
    return _HOLE.sub(lambda hole: values[hole[1]], pattern)


def check_meeting(outputs: Sequence[Sequence[str]]) -> None:
    """Raise UsageError if two jobs name the same output; `outputs`: those of each job."""
    seen: set[str] = set()
    for paths in outputs:
        places = {path if path == STDOUT else os.path.realpath(path) for path in paths}
        for place in sorted(seen & places):
            if place == STDOUT:
                raise UsageError("standard output (-) takes the frames of one job only")
            raise UsageError(f"two jobs would write {place}")
        seen |= places
