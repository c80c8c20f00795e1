"""Loads a job from a file, standard input, a text, or parsed values."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from scope_batch.job.sweep import (
    FIELD,
    SweptKey,
    combinations,
    joined,
    parse_sweep_option,
    plain,
    take_sweep,
    without_sweep,
)
from scope_batch.job.yaml_reader import MAX_BYTES, MapNode, Node, ScalarNode, decode, read_document

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
    directory). Raises as `load_job` does, and JobError for a sweep.
    """
    origin = Origin(name, folder or Path.cwd())
    root, keys = take_sweep(_read_root(text, origin), origin)
    rest = without_sweep(overrides)
    if keys and len(rest) == len(overrides):
        raise JobError(
            f"{keys[0].place}: {FIELD}: makes several jobs, as render and plan take them; here it is one "
            f"(--set {FIELD}=null leaves the sweep out)"
        )
    return _load(root, origin, rest, models, os.environ if environ is None else environ, stem, ())


@dataclass(frozen=True, slots=True)
class SweptJob:
    """One job of a sweep. swept: its value of every swept key; empty for a job without a sweep."""

    job: Job
    swept: Mapping[str, Any]


def load_sweep(
    text: str,
    *,
    name: str,
    folder: Path | None = None,
    stem: str = "job",
    sweeps: Sequence[str] = (),
    overrides: Sequence[str] = (),
    models: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[SweptJob]:
    """Load every job of a sweep: those of the field `sweep`, with those of `sweeps`, texts as KEY=V1,V2, KEY=[V1, V2]
    or KEY=@FILE, in place of the same keys. Without any, the one job.

    Other parameters and errors are those of `load_text`. A problem of several jobs is one line.
    """
    working_directory = Path.cwd()
    origin = Origin(name, folder or working_directory)
    root, written = take_sweep(_read_root(text, origin), origin)
    rest = without_sweep(overrides)
    options = [parse_sweep_option(sweep, working_directory) for sweep in sweeps]
    keys = joined(written if len(rest) == len(overrides) else (), options, rest)
    jobs: list[SweptJob] = []
    problems: dict[str, None] = {}
    more = 0
    for values in combinations(keys):
        try:
            job = _load(root, origin, rest, models, os.environ if environ is None else environ, stem, values)
            jobs.append(SweptJob(job, {key.key: plain(node) for key, node in values}))
        except JobError as error:
            problems.update(dict.fromkeys(error.problems))
            more = max(more, error.more)
    if problems:
        raise JobError(*problems, more=more)
    return jobs


def _load(
    root: MapNode,
    origin: Origin,
    overrides: Sequence[str],
    models: str | None,
    environ: Mapping[str, str],
    stem: str,
    swept: Sequence[tuple[SweptKey, Node]],
) -> Job:
    working_directory = Path.cwd()
    values = _values_of(root, origin, environ)
    for override in overrides:
        apply_override(values, override, working_directory)
    if models is not None:
        set_value(
            values,
            ("models",),
            ScalarNode((1, 1), 1, models, models, plain=False),
            Origin("--models", working_directory, False),
        )
    for key, node in swept:
        set_value(values, key.loc, node, key.origin, key.position, environ if key.origin is origin else None)
    return job_of_values(values, name=origin.name, stem=stem, warnings=replaced_overrides(overrides))


def read_values(text: str, origin: Origin, environ: Mapping[str, str]) -> Values:
    """Read a text as plain values that know their line and column. Raises JobError unless it is one map."""
    return _values_of(_read_root(text, origin), origin, environ)


def _read_root(text: str, origin: Origin) -> MapNode:
    root = read_document(text, origin)
    if not isinstance(root, MapNode):
        line, column = root.position
        raise JobError(f"{origin.name}:{line}:{column}: a job is a map of fields, such as `prompt: a cat`")
    return root


def _values_of(root: MapNode, origin: Origin, environ: Mapping[str, str]) -> Values:
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
