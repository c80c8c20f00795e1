"""Lists the environment variables of a job, and its files outside the expected folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.files.urls import is_url, url_of
from scope_batch.job.faults import Loc
from scope_batch.job.paths import named_inputs
from scope_batch.job.positions import show

if TYPE_CHECKING:
    from scope_batch.job.schema import Job

SHOWN = 6
"""Names that a line lists; the rest are only counted."""
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_]\w*))")


def reach_of(job: Job, written: Iterable[Path | str] = ()) -> tuple[str, ...]:
    """Return lines about the environment variables that the job reads, about inputs that are neither in the working
    directory nor in the job file's folder, and about those of `written`, the outputs, outside the working directory.
    URLs of shared storage have lines of their own.

    Paths of the command line are left out.
    """
    working_directory = Path.cwd().resolve()
    expected_folders = {
        working_directory,
        *(mark.origin.folder.resolve() for mark in [job.source.marks.get(())] if mark and mark.origin.folder),
    }
    inputs = [(loc, path) for loc, path in named_inputs(job)]
    if isinstance(job.models, Path):
        inputs.append((("models",), job.models))
    outputs = [str(path) for path in written]
    asked = [(path, show(loc).split(".")[0]) for loc, path in inputs if stands_in_text(job, loc)]
    lines = {
        "reads environment variables": [f"{name} ({place})" for name, place in _variables(job)],
        "reads shared storage": [f"{url} ({field})" for path, field in asked if (url := url_of(path))],
        "reads outside the working directory": [
            f"{path} ({field})" for path, field in asked if not url_of(path) and not _inside(path, expected_folders)
        ],
        "writes to shared storage": [name for name in outputs if is_url(name)],
        "writes outside the working directory": [
            name for name in outputs if not is_url(name) and not _inside(Path(name), {working_directory})
        ],
    }
    return tuple(f"{action}: {_listed(names)}" for action, names in lines.items() if names)


def stands_in_text(job: Job, loc: Loc) -> bool:
    """Return True if the value comes from the job's text, not from the command line."""
    _, mark = job.source.known(loc)
    return mark is not None and mark.origin.has_lines


def _variables(job: Job) -> Iterator[tuple[str, str]]:
    """Yield each variable once, with the first field that reads it."""
    seen: set[str] = set()
    for loc, mark in job.source.marks.items():
        for name in _VARIABLE.findall(mark.written or ""):
            if name and name not in seen:
                seen.add(name)
                yield name, show(loc)


def _inside(path: Path, folders: Iterable[Path]) -> bool:
    """Return True if the path, with links resolved, is inside one of the folders."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(folder) for folder in folders)


def _listed(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
