"""Remembers on this machine which jobs were submitted, so that they can be attached to by their id alone."""

from __future__ import annotations

import contextlib
import re

from pydantic import BaseModel, ValidationError

from scope_batch.errors import OutputError
from scope_batch.files.cache import cache_folder, cache_path, read_sealed, write_sealed

_FOLDER = "submitted"
_ID = re.compile(r"[0-9a-f]{32}")


class SubmittedJob(BaseModel):
    """A job on a server, with the text that it was submitted from. Holds no token.

    server      the URL without the token or the password that it may have held.
    directory   the working directory, where relative outputs start.
    outputs, output_format, metadata   `-o`, `-f` and not `--no-metadata`.
    """

    server: str
    text: str
    name: str
    folder: str
    stem: str
    overrides: tuple[str, ...]
    directory: str
    outputs: tuple[str, ...]
    output_format: str | None
    metadata: bool


def is_job_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def remember_job(job: str, submitted: SubmittedJob) -> None:
    """Store a job, for this user alone; where that fails, only `--attach` by the id alone is lost."""
    with contextlib.suppress(OSError, OutputError):
        data = submitted.model_dump_json().encode("utf-8", "surrogatepass")
        write_sealed(cache_folder(_FOLDER) / job, data, mode=0o600)


def recall_job(job: str) -> SubmittedJob | None:
    """Return a stored job; None if there is none."""
    with contextlib.suppress(OSError, OutputError, ValidationError):
        data = read_sealed(cache_path(_FOLDER, job))
        return None if data is None else SubmittedJob.model_validate_json(data)
    return None
