"""Reads the jobs of a command line, each with the options that apply to it and the files that it will write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_batch.cli.job_argument import read_job_text, stem_of
from scope_batch.cli.output_patterns import STDOUT, fill, pattern_fault, swept_outputs
from scope_batch.errors import ScopeBatchError, UsageError
from scope_batch.job.sweep import file_name_parts, value_text
from scope_batch.pipelines import KNOWN_PIPELINES

if TYPE_CHECKING:
    from scope_batch.job import Job
    from scope_batch.job.load import SweptJob
    from scope_batch.render.options import RenderOptions


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job of the command line. `position`: among all jobs, from 1; `options` holds no placeholders any more.

    argument  how the job is called in messages: its argument, with the values of a sweep.
    file      its argument alone.
    swept     value of every swept key.
    """

    argument: str
    position: int
    job: Job
    options: RenderOptions
    job_stem: str = ""
    file: str = ""
    swept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """Text of `{job}`, which also names the default output."""
        return self.job_stem or stem_of(self.argument)

    @property
    def work(self) -> int | None:
        """Pixels in all frames of the job, None if only its inputs tell how many frames it has."""
        job = self.job
        if not isinstance(job.num_frames, int):
            return None
        spec = KNOWN_PIPELINES.get(job.pipeline_id)
        return job.num_frames * (job.height or spec.height) * (job.width or spec.width)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of all prompts of the job, in order."""
        entries = [prompt for entry in self.job.chunk_specs for prompt in entry.target or ()]
        return tuple(prompt.text for prompt in (*self.job.prompt, *entries))

    @property
    def films(self) -> list[str]:
        """Paths of the outputs, `-` for standard output."""
        return [*self.options.outputs] or [str(output.path) for output in self.job.output] or [f"{self.stem}.mp4"]

    @property
    def named_outputs(self) -> list[str]:
        """Paths of the files that the job will write, `-` for standard output."""
        return self.films + [str(path) for path in (self.options.latents, self.options.preview) if path]

    @property
    def ends_at_once(self) -> bool:
        """True if an output exists and is not to be replaced: the job is finished already, or refused."""
        from scope_batch.sinks.output import has_files

        paths = [Path(path) for path in self.named_outputs if path != STDOUT]
        return not self.options.overwrite and any(map(has_files, paths))

    @property
    def reach(self) -> tuple[str, ...]:
        """A line on each path outside its folder that the job reads or writes, except for paths of the command line."""
        from scope_batch.job.reach import reach_of, stands_in_text

        written = [] if self.options.outputs else [str(output.path) for output in self.job.output]
        paths = [
            path for index, path in enumerate(written) if path != STDOUT and stands_in_text(self.job, ("output", index))
        ]
        return reach_of(self.job, paths)


@dataclass(frozen=True, slots=True)
class NamedJob:
    """A job as an argument of the command line names it, or one of the several that a sweep makes of an argument.

    label    how it is called in messages, in columns for the jobs of a sweep.
    error    why the argument cannot be read; there is no job then.
    """

    argument: str
    label: str
    job: Job | None = None
    swept: Mapping[str, Any] = field(default_factory=dict)
    error: ScopeBatchError | None = None

    def queued(self, position: int, options: RenderOptions) -> QueuedJob:
        """Return the job with the placeholders of `options`, such as `{job}`, filled in. Raises `error`."""
        if self.error is not None:
            raise self.error
        assert self.job is not None
        job, stem, parts = self.job, stem_of(self.argument), file_name_parts(self.swept)

        def path(pattern: Path | None) -> Path | None:
            return None if pattern is None else Path(fill(str(pattern), job, stem, swept=parts))

        outputs = tuple(fill(output, job, stem, swept=parts) for output in options.outputs)
        filled = replace(options, outputs=outputs, latents=path(options.latents), preview=path(options.preview))
        if not self.swept:
            return QueuedJob(self.label, position, job, filled, stem, self.argument)
        own_stem = "-".join((stem, *parts.values()))
        return QueuedJob(" ".join(self.label.split()), position, job, filled, own_stem, self.argument, self.swept)


def name_jobs(
    arguments: Sequence[str], overrides: Sequence[str], sweeps: Sequence[str], options: RenderOptions
) -> list[NamedJob]:
    """Read every argument and return its jobs: one, or those of its sweep with `sweeps` (KEY=V1,V2).

    An argument that cannot be read is one job, which raises the error when it is queued. Raises UsageError for what is
    wrong in the command line itself.
    """
    check_patterns(arguments, options)
    named: list[NamedJob] = []
    for argument in arguments:
        try:
            jobs = read_job_text(argument).jobs(sweeps, overrides, options.models)
            named += _named(argument, jobs, options)
        except UsageError:
            raise
        except ScopeBatchError as error:
            named.append(NamedJob(argument, argument, error=error))
    return named


def _named(argument: str, jobs: Sequence[SweptJob], options: RenderOptions) -> list[NamedJob]:
    """Name the jobs of an argument; in a sweep, their outputs too. Raises JobError for a faulty pattern of the job."""
    keys = [*jobs[0].swept]
    values = {key: len({value_text(each.swept[key]) for each in jobs}) for key in keys}
    _check_keys(options, values)
    texts = [{key: _short(value_text(each.swept[key])) for key in keys} for each in jobs]
    widths = {key: max(len(text[key]) for text in texts) for key in keys}
    named = []
    for each, text in zip(jobs, texts, strict=True):
        label = "  ".join((argument, *(f"{key}={text[key]:<{widths[key]}}" for key in keys)))
        job = swept_outputs(each.job, stem_of(argument), file_name_parts(each.swept), values) if keys else each.job
        named.append(NamedJob(argument, label.rstrip(), job, each.swept))
    return named


def _check_keys(options: RenderOptions, values: Mapping[str, int]) -> None:
    """Raise UsageError for a pattern of the command line that does not fit the keys of a sweep."""
    for option, pattern in _patterns(options):
        if fault := pattern_fault(pattern, 1, swept=values):
            raise UsageError(f"{option} {pattern}: {fault}")


MAX_LABEL = 40
"""Characters of a swept value in a message."""


def _short(text: str) -> str:
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 3]}..."


def _patterns(options: RenderOptions) -> Iterator[tuple[str, str]]:
    """Yield (option, pattern) of every path of the command line that jobs write to."""
    yield from (("-o", output) for output in options.outputs)
    for option, path in (("--latents", options.latents), ("--preview", options.preview)):
        if path is not None:
            yield option, str(path)


def check_patterns(arguments: Sequence[str], options: RenderOptions) -> None:
    """Raise UsageError for arguments and patterns that cannot work together, before any job is read."""
    if sum(argument == "-" for argument in arguments) > 1:
        raise UsageError("- (standard input) can be read only once")
    for option, pattern in _patterns(options):
        if fault := pattern_fault(pattern, len(arguments), keys_known=False):
            raise UsageError(f"{option} {pattern}: {fault}")


def later_work(jobs: Sequence[QueuedJob]) -> list[float]:
    """Return for each job the work of all later jobs, as a multiple of its own.

    A job of unknown length counts as an average one, and one whose output exists as none.
    """
    works = [job.work for job in jobs]
    known = [work for work in works if work is not None]
    average = sum(known) / len(known) if known else 1.0
    filled = [average if work is None else work for work in works]
    left = [0.0 if job.ends_at_once else work for job, work in zip(jobs, filled, strict=True)]
    return [sum(left[index + 1 :]) / work for index, work in enumerate(filled)]
