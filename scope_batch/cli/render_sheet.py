"""Writes the contact sheet of `render --sheet`: the middle frame of each job, with its values of the sweep."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from scope_batch.cli.output_patterns import STDOUT
from scope_batch.cli.queued_job import QueuedJob
from scope_batch.errors import UsageError


def check_sheet(path: Path, jobs: Sequence[QueuedJob], *, overwrite: bool) -> None:
    """Raise an error, before anything is rendered, for a sheet that cannot be written.

    Raises UsageError for another file than a .png, and for a job without a file to take a frame from; OutputExistsError
    if the path holds a picture that no render made.
    """
    from scope_batch.sinks.metadata import is_own_picture
    from scope_batch.sinks.output import refuse_existing, refuse_folder

    if path.suffix.lower() != ".png":
        raise UsageError(f"--sheet {path}: must end in .png")
    for job in jobs:
        if film_of(job) is None:
            raise UsageError(f"--sheet {path}: {job.argument} writes no file whose frames it could show")
        if os.path.realpath(path) in map(os.path.realpath, job.named_outputs):
            raise UsageError(f"--sheet {path}: {job.argument} writes that file")
    refuse_existing(path, overwrite=overwrite or is_own_picture(path))
    refuse_folder(path)


def film_of(job: QueuedJob) -> str | None:
    """Return the path or URL of the first output of a job that is a file."""
    return next((name for name in job.films if name != STDOUT), None)


def write_sheet(path: Path, jobs: Sequence[QueuedJob], is_whole: Callable[[QueuedJob], bool]) -> None:
    """Write the sheet. is_whole: whether the outputs of a job are there; another job has its values, and no picture."""
    import numpy as np

    from scope_batch.files.access import make_folders
    from scope_batch.job.sweep import value_text
    from scope_batch.review.sweep_sheet import SheetCell, SheetPart, columns_for, middle_picture, sweep_sheet
    from scope_batch.sinks.output import output_errors
    from scope_batch.sinks.png import encode_png
    from scope_batch.storage.fetch import fetch_argument

    def cell(job: QueuedJob) -> SheetCell:
        film = film_of(job)
        labels = [f"{key}={value_text(value)}" for key, value in job.swept.items()] or [job.argument]
        whole = film is not None and is_whole(job)
        return SheetCell(
            (*labels, *(() if whole else ("not rendered",))),
            middle_picture(Path(fetch_argument(film))) if whole and film else None,
        )

    parts = []
    for head, group in groupby(jobs, lambda job: job.file if job.swept else ""):
        members = list(group)
        last = [*members[-1].swept][-1:]
        values = len({value_text(job.swept[key]) for job in members for key in last})
        parts.append(SheetPart(head, [cell(job) for job in members], columns_for(len(members), values)))
    with output_errors(path):
        make_folders(path.parent)
        path.write_bytes(encode_png(np.asarray(sweep_sheet(parts))))
