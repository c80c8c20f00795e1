"""Loads a job from a file, standard input, a text, or parsed values."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.access import shown, status_of
from scope_batch.files.image_series import is_pattern, pattern_files
from scope_batch.files.kinds import stand_in
from scope_batch.job.faults import Loc
from scope_batch.job.interpolation import Values
from scope_batch.job.legacy import fold_first_revision
from scope_batch.job.overrides import apply_override, replaced_overrides, set_value
from scope_batch.job.paths import named_inputs
from scope_batch.job.positions import NO_SOURCE, Mark, Origin, Source, show
from scope_batch.job.problems import job_error
from scope_batch.job.schema import Job
from scope_batch.job.yaml_reader import MAX_BYTES, MapNode, ScalarNode, decode, read_document

STDIN = "-"


def load_job(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    models: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Job:
    """Load the job from a YAML or JSON file, from standard input ("-"), from a text, or from a mapping of its fields.

    A string with a line break, a brace or ": " in it is the text of a job, any other one a path. Paths in a text or a
    mapping are relative to the working directory.

    `overrides`: texts of the form key.path=value; a later one wins. `models`: replaces the job's `models`, relative to
    the working directory. `environ`: variables for `${VAR}`, the process's by default.

    Raises JobError with one line per problem, MissingInputError when the file cannot be read, UsageError for an
    override that is not of the form key.path=value.
    """
    if isinstance(source, Mapping):
        text = json.dumps(source, default=_path_text)
        return load_text(text, name="job", overrides=overrides, models=models, environ=environ)
    if isinstance(source, str) and any(mark in source for mark in ("\n", "{", ": ")):
        return load_text(source, name="job", overrides=overrides, models=models, environ=environ)
    path = source
    if str(path) == STDIN:
        text = decode(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin")
        return load_text(text, name="stdin", overrides=overrides, models=models, environ=environ)
    file = Path(path)
    return load_text(
        read_job_file(file),
        name=str(path),
        folder=file.absolute().parent,
        stem=file.stem,
        overrides=overrides,
        models=models,
        environ=environ,
    )


def read_job_file(path: Path) -> str:
    """Return the text of a job file. Raises MissingInputError if it cannot be read, JobError if it is no text."""
    return decode(_read(path), str(path))


def _path_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise JobError(f"job: {value!r} is no value of a job; allowed: what JSON has, and paths")


def load_text(
    text: str,
    *,
    name: str,
    folder: Path | None = None,
    stem: str = "job",
    overrides: Sequence[str] = (),
    models: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Job:
    """Load the job from `text`. `name` begins every message; input paths are relative to `folder` (default: working
    directory). Raises as `load_job` does.
    """
    working_directory = Path.cwd()
    values = read_values(text, Origin(name, folder or working_directory), os.environ if environ is None else environ)
    for override in overrides:
        apply_override(values, override, working_directory)
    if models is not None:
        set_value(
            values,
            ("models",),
            ScalarNode((1, 1), 1, models, models, plain=False),
            Origin("--models", working_directory, False),
        )
    return job_of_values(values, name=name, stem=stem, warnings=replaced_overrides(overrides))


def read_values(text: str, origin: Origin, environ: Mapping[str, str]) -> Values:
    """Read a text as plain values that know their line and column. Raises JobError unless it is one map."""
    root = read_document(text, origin)
    if not isinstance(root, MapNode):
        line, column = root.position
        raise JobError(f"{origin.name}:{line}:{column}: a job is a map of fields, such as `prompt: a cat`")
    values = Values()
    values.data = values.add(root, origin, environ=environ)
    return values


def job_of_values(values: Values, *, name: str, stem: str = "job", warnings: Iterable[str] = ()) -> Job:
    """Return the job of a text's values. Raises JobError with their problems and those of the schema, by line."""
    values.data, moved = fold_first_revision(values.data)
    values.move(moved)
    # A problem of a value that was replaced or taken out is dropped.
    current = set(values.marks.values()) if values.problems else set()
    problems = [problem for problem in values.problems if problem[0] in current]
    source = Source(name, stem, values.marks, (*values.warnings, *warnings))
    return _validated(values.data, source, problems)


def parse_job(data: Any, source: Source = NO_SOURCE) -> Job:
    """Load the job from parsed values, such as a request's body. Raises JobError with one line per problem."""
    return _validated(data, source, [])


def check_inputs(job: Job) -> None:
    """Raise MissingInputError, a line per place, unless every input that the job names exists.

    Raises JobError if the path of one cannot be accessed.
    """
    problems: list[str] = []
    error_type: type[MissingInputError | JobError] = MissingInputError
    for loc, path in named_inputs(job):
        try:
            absent = status_of(path) is None and not (is_pattern(path) and pattern_files(path))
            problem = f"no such file: {shown(path)}{_hint(path)}" if absent else ""
        except JobError as error:
            problem, error_type = str(error), JobError
        if problem:
            problems.append(f"{job.where(*loc)}: {_field(loc)}: {problem}")
    if problems:
        raise error_type(*problems)


def _field(loc: Loc) -> str:
    """Show a place; the file path of a LoRA is left out."""
    return show(loc[:-1] if loc[-2:-1] == ("lora_scales",) else loc)


def _hint(path: Path) -> str:
    if os.sep == "/" and "\\" in path.name:
        return f" (\\ does not separate folders on this machine: {path.name.replace(chr(92), '/')})"
    return ""


def _validated(data: Any, source: Source, problems: Sequence[tuple[Mark, str]]) -> Job:
    try:
        job = Job.model_validate(data, context=source)
    except ValidationError as error:
        raise job_error(error, source, problems) from None
    if problems:
        raise job_error(None, source, problems)
    return job


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        near = [name for name in _job_files(path.parent) if name != path.name]
        close = difflib.get_close_matches(path.name, near, n=1, cutoff=0.7)
        hint = f" (did you mean {path.with_name(close[0])}?)" if close else ""
        raise MissingInputError(f"{path}: no such job file{hint}") from error
    except OSError as error:
        raise MissingInputError(f"{path}: cannot be read: {error.strerror}") from error
    if other_kind := stand_in(data):
        raise JobError(f"{path}: is {other_kind}, not a job")
    return data


def _job_files(folder: Path) -> list[str]:
    """Return the names of possible job files; looks at 5000 names at most, as the folder may hold many pictures."""
    try:
        names = islice(folder.iterdir(), 5000)
        return [path.name for path in names if path.suffix.lower() in (".yaml", ".yml", ".json")]
    except OSError:
        return []
