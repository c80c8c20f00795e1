"""Reads the JOB argument: a job file, `-` for standard input, or a rendered file that carries its job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.core.output_formats import OUTPUT_FORMATS

if TYPE_CHECKING:
    from scope_batch.job import Job

STDIN = "-"
RENDERED = frozenset(f".{name}" for name in OUTPUT_FORMATS)
"""Extensions of rendered files; any other file is read as a job file."""


def read_job(argument: str, overrides: Sequence[str] = (), models: str | None = None) -> Job:
    """Read and check a job. Relative input paths start at the folder of the file that was read."""
    from scope_batch.job import load_job, load_text

    path = Path(argument)
    if path.suffix.lower() not in RENDERED:
        return load_job(argument if argument == STDIN else Path(argument), overrides, models=models)
    from scope_batch.sinks.metadata import read_carried_job

    job, defaults = read_carried_job(path)
    text = json.dumps(job | defaults)
    folder = path.absolute().parent
    return load_text(text, name=argument, folder=folder, stem=path.stem, overrides=overrides, models=models)


def stem_of(argument: str) -> str:
    """Return the text of `{job}`, which also names the default output."""
    return "stdin" if argument == "-" else Path(argument).stem
