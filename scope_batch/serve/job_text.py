"""Reads the text of a job file that a client sends, and plans it as `scope-batch plan` does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from scope_batch.core.plan import Plan
from scope_batch.errors import JobError, ProblemsError, UnavailableError
from scope_batch.job import Job
from scope_batch.job.faults import Loc
from scope_batch.job.interpolation import Values
from scope_batch.job.load import job_of_values, parse_job, read_values
from scope_batch.job.positions import Mark, Origin, Source, show
from scope_batch.job.yaml_reader import decode
from scope_batch.jobs.records import JobRecord
from scope_batch.models.folder import TINY, find_models
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.render.prepare import plan_document, prepare_job
from scope_batch.serve.requests import (
    MAX_FRAMES,
    NOT_SERVED,
    Files,
    Translation,
    in_client_words,
    public_text,
    resolved,
)

MAX_TEXT_BYTES = 128 << 10
MAX_PLANNED_CHARACTERS = 4 << 20
"""A plan whose chunks repeat more characters of prompts than this is not sent."""
NAME = "job"
"""Begins every line about the text: "job:3:5: fps: ..."."""
_LINE = re.compile(rf"{NAME}(?::(\d+):(\d+))?: (.*)", re.DOTALL)
_NOT_SERVED = {
    "models": "the server's models are used",
    "output": "the result is downloaded from the server",
    "video": "the server encodes with its own settings",
    "keep_state": "the server keeps no states",
}


class Remark(BaseModel):
    """A problem or a warning. Line and column count from 1; both are null if it is about the job as a whole."""

    message: str
    line: int | None = None
    column: int | None = None


class JobCheck(BaseModel):
    """What a job's text would do. `plan` is that of `scope-batch plan --json`, null if there are problems.

    more_problems   so many are not listed.
    """

    problems: list[Remark]
    more_problems: int = 0
    warnings: list[Remark] = []
    plan: dict[str, Any] | None = None


def read_job_text(data: bytes, files: Files, models: str | None) -> tuple[Job, Translation, Plan]:
    """Return the job of a text, its translation for a worker and its plan.

    models  of this server, as `--models`.
    Raises JobError or MissingInputError with one line per problem, in the client's words.
    """
    values = read_values(decode(data, NAME), Origin(NAME, None), environ={})
    translation = Translation({}, warnings=[*_take_out_what_is_not_served(values)])
    _resolve(values, files, translation.names)
    if models is not None:
        values.data["models"] = models
    try:
        job = job_of_values(values, name=NAME)
        check_server_limits(job, models)
        plan = prepare_job(job)
        check_planned_frames(job, plan)
    except ProblemsError as error:
        raise in_client_words(error, translation.names) from None
    translation.fields = {**values.data, "pipeline_id": job.pipeline_id}
    return job, translation, plan


def check_job_text(data: bytes, files: Files, models: str | None) -> bytes:
    """Return the JSON of the `JobCheck` of a text."""
    return _check(lambda: read_job_text(data, files, models))


def check_record(record: JobRecord) -> bytes:
    """Return the JSON of the `JobCheck` of a job in the table, whose uploads may have expired."""

    def read() -> tuple[Job, Translation, Plan]:
        caller = json.loads(record.caller)
        job = parse_job(json.loads(record.request), Source(name=NAME))
        try:
            return job, Translation({}, caller["warnings"], caller["names"]), prepare_job(job)
        except ProblemsError as error:
            raise in_client_words(error, caller["names"]) from None

    return _check(read)


def _check(read: Callable[[], tuple[Job, Translation, Plan]]) -> bytes:
    try:
        job, translation, plan = read()
    except ProblemsError as error:
        return JobCheck(problems=_remarks(error.problems), more_problems=error.more).model_dump_json().encode()
    warnings = [*translation.warnings, *(public_text(line, translation.names) for line in plan.warnings)]
    document = plan_document(job, plan, ())
    is_short = _prompt_characters(document) <= MAX_PLANNED_CHARACTERS
    if not is_short:
        warnings.append("the plan is too long to be sent: its chunks repeat very long prompts")
    shown = _public_plan(document, translation.names) if is_short else None
    check = JobCheck(problems=[], warnings=_remarks(warnings)).model_dump()
    return _in_pieces({**check, "plan": shown}).encode()


def _in_pieces(value: Any) -> str:
    """Return the JSON of a document. Its lists are encoded item by item: other threads wait while json encodes."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(name)}: {_in_pieces(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in value)}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _take_out_what_is_not_served(values: Values) -> Iterable[str]:
    for name in sorted(NOT_SERVED & values.data.keys(), key=lambda name: values.marks[name,].key):
        yield f"{values.marks[name,].at_key()}: {name}: has no effect here: {_NOT_SERVED[name]}"
        del values.data[name]
        for loc in [loc for loc in values.marks if loc[:1] == (name,)]:
            del values.marks[loc]


def _resolve(values: Values, files: Files, names: dict[str, str]) -> None:
    """Replace every name of a file by its path, noted in `names`; one that has none is a problem of its line."""

    def mark_of(loc: Loc, name: str) -> Mark:
        return values.marks.get((*loc, name), values.marks[loc])

    def refuse(loc: Loc, name: str, error: ProblemsError) -> None:
        mark = mark_of(loc, name)
        values.problems.append((mark, f"{mark.at_value()}: {show(loc)}: {public_text(str(error), {})}"))

    def mark_lora(loc: Loc, name: str, path: str) -> None:
        values.marks[*loc, path] = mark_of(loc, name)

    values.data = resolved(values.data, files, names, refuse, mark_lora)


def check_server_limits(job: Job, models: str | None) -> None:
    """Raise JobError for a job that is longer than this server renders, or whose models are not here."""
    if isinstance(job.num_frames, int) and job.num_frames > MAX_FRAMES:
        raise JobError(f"{_field(job, 'num_frames')}: must be at most {MAX_FRAMES} over HTTP, not {job.num_frames}")
    if models == TINY or not KNOWN_PIPELINES.get(job.pipeline_id).needs_models:
        return
    try:
        find_models(job.pipeline_id, models, vae_type=job.vae_type)
    except UnavailableError:
        message = f"the model files of {job.pipeline_id} with vae_type {job.vae_type} are not on this server"
        raise JobError(f"{_field(job, 'pipeline_id')}: {message}") from None


def check_planned_frames(job: Job, plan: Plan) -> None:
    """Raise JobError for a plan of too many frames, such as those of a long input, or of a processor that adds some."""
    if plan.delivery.frames > MAX_FRAMES:
        raise JobError(
            f"{_field(job, 'num_frames')}: the video would have {plan.delivery.frames} frames; at most "
            f"{MAX_FRAMES} are allowed over HTTP"
        )


def _prompt_characters(document: dict[str, Any]) -> int:
    """Count the characters of prompts, which stand in every chunk anew once the document is a text."""
    targets = (chunk["transition"]["target"] for chunk in document["chunks"] if chunk["transition"])
    prompts = (chunk["prompts"] for chunk in document["chunks"])
    return sum(len(prompt["text"]) for group in (*prompts, *targets) for prompt in group)


def _remarks(lines: Iterable[str]) -> list[Remark]:
    remarks = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            remarks.append(Remark(message=line))
        else:
            position = (int(match[1]), int(match[2])) if match[1] else (None, None)
            remarks.append(Remark(message=match[3], line=position[0], column=position[1]))
    return remarks


def _public_plan(value: Any, names: Mapping[str, str], key: str = "") -> Any:
    """Return the plan with the client's names in place of paths of this machine. `key`: the one that holds `value`."""
    if isinstance(value, dict):
        return {names.get(name, name): _public_plan(inner, names, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_public_plan(item, names, key) for item in value]
    if isinstance(value, str):
        return public_text(value, names) if key in ("notes", "warnings") else names.get(value, value)
    return value


def _field(job: Job, name: str) -> str:
    """Return a field's place in the text and its name; the name alone if there is no text."""
    place = job.where(name)
    return name if place == name else f"{place}: {name}"
