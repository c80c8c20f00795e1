"""Fetches the inputs of a job that lie in shared storage."""

from __future__ import annotations

from scope_batch.errors import MissingInputError, TemporaryError, UnavailableError
from scope_batch.events import Report, silent
from scope_batch.files.urls import url_of
from scope_batch.job import Job
from scope_batch.job.paths import named_inputs
from scope_batch.models.lora.alpha import SETTINGS, may_have_settings
from scope_batch.plan.diagnostics import place


def fetch_inputs(job: Job, report: Report = silent, limit: int | None = None) -> None:
    """Bring the local copy of every input with a URL up to date. limit: most bytes of one object; None: no limit.

    Raises MissingInputError with a line for each that is missing, and as `scope_batch.storage.fetch.fetch`.
    """
    places = {path: loc for loc, path in reversed([*named_inputs(job)]) if url_of(path)}
    if not places:
        return
    from scope_batch.storage.fetch import fetch, fetch_if_there

    problems = []
    for path, loc in reversed(places.items()):
        where = place(job, str(loc[0]), *loc[1:]) if loc[0] != "lora_scales" else f"{job.where(*loc)}: lora_scales"
        try:
            is_lora = loc[-2:-1] == ("lora_scales",)
            fetch(path, report, limit, header=is_lora)
            if is_lora and may_have_settings(path):
                fetch_if_there(path.with_name(SETTINGS), report, limit)
        except MissingInputError as error:
            problems.append(f"{where}: {error}")
        except (UnavailableError, TemporaryError) as error:
            raise type(error)(f"{where}: {error}") from error
    if problems:
        raise MissingInputError(*problems)
