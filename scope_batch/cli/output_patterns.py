"""Fills in `{job}`, `{seed}`, `{hash8}` and the keys of a sweep in output paths."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.errors import JobError, UsageError
from scope_batch.files.urls import is_url

if TYPE_CHECKING:
    from scope_batch.job import Job

STDOUT = "-"
_NAMES = ("job", "seed", "hash8")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def refuse_tiny(folder: str | None) -> str | None:
    """Return `folder`. Raises UsageError if it names the built-in set, or a URL, where only a folder makes sense."""
    from scope_batch.models.folder import RANDOM, TINY

    if folder in (TINY, RANDOM):
        raise UsageError(f"--models {folder}: the built-in set is created by a render; name a folder")
    if folder is not None and is_url(folder):
        raise UsageError(f"--models {folder}: is a URL; a render fetches its models from there, name a folder here")
    return folder


def check_pattern(option: str, pattern: str, jobs: int, *, each: str = "job") -> None:
    """Raise UsageError for a pattern of the command line that `pattern_fault` finds wrong."""
    if fault := pattern_fault(pattern, jobs, each=each):
        raise UsageError(f"{option} {pattern}: {fault}")


def pattern_fault(
    pattern: str, jobs: int, *, each: str = "job", swept: Mapping[str, int] | None = None, keys_known: bool = True
) -> str | None:
    """Return the fault of a pattern with an unknown placeholder, or by which `jobs` > 1 jobs would write one file.

    each        what there are several of: the placeholder that tells them apart.
    swept       keys of a sweep, which are placeholders too, and the number of values of each.
    keys_known  False: the sweep has not been read yet, so that any field of a job may be a placeholder.
    """
    allowed = tuple(dict.fromkeys((*_NAMES, each, *(swept or {}))))
    if not pattern.strip() or not Path(pattern).name:
        return "is not a file name"
    placeholders = _PLACEHOLDER.findall(pattern)
    for name in placeholders:
        if name not in allowed and (keys_known or not _may_be_swept(name)):
            unswept = " (only keys that a sweep gives values to are)" if keys_known and _may_be_swept(name) else ""
            return f"{{{name}}} is not known{unswept}; allowed: {', '.join(f'{{{n}}}' for n in allowed)}"
    if jobs > 1 and each not in placeholders and pattern != STDOUT:
        return f"{jobs} {each}s need {{{each}}} in it, or each would replace the output of the one before"
    lacking = [f"{{{key}}}" for key, values in (swept or {}).items() if values > 1 and key not in placeholders]
    if lacking and "hash8" not in placeholders and pattern != STDOUT:
        names = " and ".join(lacking)
        return (
            f"the jobs of a sweep need {names} in it (or {{hash8}}), or each would replace the output of the one before"
        )
    return None


def _may_be_swept(name: str) -> bool:
    from scope_batch.job import Job

    return name.partition(".")[0] in Job.model_fields


def swept_outputs(job: Job, stem: str, swept: Mapping[str, str], values: Mapping[str, int]) -> Job:
    """Return a job of a sweep with names of its own for its outputs: placeholders are filled in; where none is the key
    of the sweep, its values are added to the name, to that of the folder for a sequence of pictures.

    swept   text of the value of each swept key; values: how many each has in the sweep. Outputs that are swept
            themselves tell the jobs apart as they are.
    Raises JobError for a faulty pattern.
    """
    outputs_swept = any(key.partition(".")[0] == "output" for key in swept)
    values = {key: count for key, count in values.items() if key.partition(".")[0] != "output"}
    named = []
    for index, output in enumerate(job.output):
        pattern = str(output.path)
        placeholders = _PLACEHOLDER.findall(pattern)
        if pattern != STDOUT and not outputs_swept and not {"hash8", *swept}.intersection(placeholders):
            pattern = name_with(pattern, "-".join(f"{{{key}}}" for key in swept))
        if fault := pattern_fault(pattern, 1, swept=values):
            raise JobError(f"{job.where('output', index)}: output: {output.path}: {fault}")
        named.append(output.model_copy(update={"path": fill(pattern, job, stem, swept=swept)}))
    return job.model_copy(update={"output": tuple(named)})


def name_with(text: str, addition: str) -> str:
    """Return a path with `-ADDITION` behind its name; behind the folder's name for a sequence of pictures."""
    scheme, mark, rest = text.partition("://") if is_url(text) else ("", "", text)
    path = Path(rest)
    if "%" in path.name:
        named = path.parent.with_name(f"{path.parent.name}-{addition}") / path.name
    else:
        named = path.with_name(f"{path.stem}-{addition}{path.suffix}")
    return f"{scheme}{mark}{named}"


def fill(pattern: str, job: Job, stem: str, ending: int | None = None, swept: Mapping[str, str] | None = None) -> str:
    """Fill in `{job}`: the job file's name, no extension; `{seed}`: its first seed; `{hash8}`: a hash of the job;
    `{ending}`: the number of an ending; `{KEY}`: the value of a swept key, from `swept`.
    """
    hash8 = hashlib.sha256(job.canonical_json().encode("utf-8", "surrogatepass")).hexdigest()[:8]
    values = {"job": stem, "seed": str(job.seed.at(0)), "hash8": hash8, "ending": str(ending), **(swept or {})}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], pattern)


def check_distinct(outputs: Sequence[Sequence[str]]) -> None:
    """Raise UsageError if two jobs name the same output; `outputs`: those of each job."""
    seen: set[str] = set()
    for paths in outputs:
        places = {path if path == STDOUT or is_url(path) else os.path.realpath(path) for path in paths}
        for place in sorted(seen & places):
            if place == STDOUT:
                raise UsageError("standard output (-) takes the frames of one job only")
            raise UsageError(f"two jobs would write {place}")
        seen |= places
