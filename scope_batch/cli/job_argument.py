"""Reads the JOB argument: a job file, `-` for standard input, or a rendered file that carries its job."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.core.output_formats import OUTPUT_FORMATS

if TYPE_CHECKING:
    from scope_batch.job import Job
    from scope_batch.job.load import SweptJob

STDIN = "-"
RENDERED = frozenset(f".{name}" for name in OUTPUT_FORMATS)
"""Extensions of rendered files; any other file is read as a job file."""


@dataclass(frozen=True, slots=True)
class JobText:
    """The text of a job. name: shown in messages; folder: where relative input paths start."""

    text: str
    name: str
    folder: Path
    stem: str

    def job(self, overrides: Sequence[str] = (), models: str | None = None) -> Job:
        """Check the job. Raises as `load_text` does."""
        from scope_batch.job import load_text

        return load_text(
            self.text, name=self.name, folder=self.folder, stem=self.stem, overrides=overrides, models=models
        )

    def jobs(self, sweeps: Sequence[str], overrides: Sequence[str], models: str | None) -> list[SweptJob]:
        """Check the jobs of a sweep; without one, the one job. Raises as `load_sweep` does."""
        from scope_batch.job.load import load_sweep

        return load_sweep(
            self.text,
            name=self.name,
            folder=self.folder,
            stem=self.stem,
            sweeps=sweeps,
            overrides=overrides,
            models=models,
        )


def read_job_text(argument: str) -> JobText:
    """Read the text of a job without checking it."""
    from scope_batch.job.load import read_job_file
    from scope_batch.job.yaml_reader import MAX_BYTES, decode
    from scope_batch.storage.fetch import fetch_argument

    if argument == STDIN:
        return JobText(decode(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin"), "stdin", Path.cwd(), "job")
    path = Path(fetch_argument(argument))
    if path.suffix.lower() in RENDERED:
        from scope_batch.sinks.metadata import read_carried_job

        job, defaults = read_carried_job(path)
        text = json.dumps(job | defaults)
    else:
        text = read_job_file(path)
    return JobText(text, argument, path.absolute().parent, path.stem)


def read_job(argument: str, overrides: Sequence[str] = (), models: str | None = None) -> Job:
    """Read and check a job. Relative input paths start at the folder of the file that was read."""
    return read_job_text(argument).job(overrides, models)


def stem_of(argument: str) -> str:
    """Return the text of `{job}`, which also names the default output."""
    return "stdin" if argument == "-" else Path(argument).stem
