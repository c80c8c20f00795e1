"""Writes the files that a render reads as rules for make, as compilers do with -MD and -MP."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from scope_batch.errors import JobError
from scope_batch.files.image_series import is_pattern, pattern_files
from scope_batch.files.urls import url_of
from scope_batch.job import Job
from scope_batch.job.paths import named_inputs
from scope_batch.models.lora.alpha import settings_beside
from scope_batch.sinks.output import Output, is_sequence, numbered


def depfile_rules(job: Job, outputs: Sequence[Output]) -> str:
    """Return the rules: every output that is a file depends on the job file and on all inputs, not on model files.

    Of a sequence of pictures the first one is the target. An input that is removed later does not make `make` fail.
    Raises JobError for a name with a line break, which make cannot read.
    """
    targets = [_first_file(output.path) for output in outputs if output.path is not None and output.url is None]
    sources = list(dict.fromkeys(_sources(job)))
    if not targets:
        return ""
    rule = f"{' '.join(map(_escaped, targets))}: {' '.join(map(_escaped, sources))}\n"
    return rule + "".join(f"\n{_escaped(source)}:\n" for source in sources)


def _first_file(path: Path) -> Path:
    return numbered(path, 0) if is_sequence(path) else path


def _sources(job: Job) -> Iterable[Path]:
    source = Path(job.source.name)
    if source.is_file():
        yield source
    for _, path in named_inputs(job):
        if url_of(path) is not None:
            continue  # make knows no URLs
        if is_pattern(path):
            yield from sorted(pattern_files(path))
        elif path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.is_file())
        else:
            yield path
            if (settings := settings_beside(path)) is not None:
                yield settings


def _escaped(path: Path) -> str:
    if "\n" in str(path):
        raise JobError(f"--depfile: make cannot read the name {str(path)!r}, which has a line break")
    return re.sub(r"([ #:%\\])", r"\\\1", str(path)).replace("$", "$$")
