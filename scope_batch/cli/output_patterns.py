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
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def refuse_tiny(folder: str | None) -> str | None:
    """Return `folder`. Raises UsageError if it names the built-in set where only a folder makes sense."""
    from scope_batch.models.folder import TINY

    if folder == TINY:
        raise UsageError(f"--models {TINY}: the built-in set is created by a render; name a folder")
    return folder


def check_pattern(option: str, pattern: str, jobs: int, *, each: str = "job") -> None:
    """Raise UsageError for an unknown placeholder, or when `jobs` > 1 jobs would write one file.

    each  what there are several of: the placeholder that tells them apart.
    """
    allowed = tuple(dict.fromkeys((*_NAMES, each)))
    if not pattern.strip() or not Path(pattern).name:
        raise UsageError(f"{option} {pattern}: is not a file name")
    placeholders = _PLACEHOLDER.findall(pattern)
    for name in placeholders:
        if name not in allowed:
            raise UsageError(
                f"{option} {pattern}: {{{name}}} is not known; allowed: {', '.join(f'{{{n}}}' for n in allowed)}"
            )
    if jobs > 1 and each not in placeholders and pattern != STDOUT:
        raise UsageError(
            f"{option} {pattern}: {jobs} {each}s need {{{each}}} in it, or each would replace the output of the one "
            "before"
        )


def fill(pattern: str, job: Job, stem: str, ending: int | None = None) -> str:
    """Fill in `{job}`: the job file's name, no extension; `{seed}`: its first seed; `{hash8}`: a hash of the job;
    `{ending}`: the number of an ending.
    """
    hash8 = hashlib.sha256(job.canonical_json().encode("utf-8", "surrogatepass")).hexdigest()[:8]
    values = {"job": stem, "seed": str(job.seed.at(0)), "hash8": hash8, "ending": str(ending)}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], pattern)


def check_distinct(outputs: Sequence[Sequence[str]]) -> None:
    """Raise UsageError if two jobs name the same output; `outputs`: those of each job."""
    seen: set[str] = set()
    for paths in outputs:
        places = {path if path == STDOUT else os.path.realpath(path) for path in paths}
        for place in sorted(seen & places):
            if place == STDOUT:
                raise UsageError("standard output (-) takes the frames of one job only")
            raise UsageError(f"two jobs would write {place}")
        seen |= places
