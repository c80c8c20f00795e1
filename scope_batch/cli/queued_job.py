"""Reads the jobs of a command line, each with the options that apply to it and the files that it will write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.cli.job_argument import read_job, stem_of
from scope_batch.cli.output_patterns import STDOUT, check_pattern, fill
from scope_batch.errors import UsageError
from scope_batch.pipelines import KNOWN_PIPELINES

if TYPE_CHECKING:
    from scope_batch.job import Job
    from scope_batch.render.options import RenderOptions


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job of the command line. `position`: among the arguments, from 1; `options` holds no placeholders any more."""

    argument: str
    position: int
    job: Job
    options: RenderOptions
    job_stem: str = ""

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
    def named_outputs(self) -> list[str]:
        """Paths of the files that the job will write, `-` for standard output."""
        outputs = [*self.options.outputs] or [str(output.path) for output in self.job.output] or [f"{self.stem}.mp4"]
        return outputs + [str(path) for path in (self.options.latents, self.options.preview) if path]

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
            Path(path)
            for index, path in enumerate(written)
            if path != STDOUT and stands_in_text(self.job, ("output", index))
        ]
        return reach_of(self.job, paths)


def read_queued_job(argument: str, position: int, overrides: Sequence[str], options: RenderOptions) -> QueuedJob:
    """Read a job and fill in the placeholders of `options`, such as `{job}`."""
    job = read_job(argument, overrides, options.models)
    stem = stem_of(argument)

    def path(pattern: Path | None) -> Path | None:
        return None if pattern is None else Path(fill(str(pattern), job, stem))

    outputs = tuple(fill(output, job, stem) for output in options.outputs)
    filled = replace(options, outputs=outputs, latents=path(options.latents), preview=path(options.preview))
    return QueuedJob(argument, position, job, filled)


def check_patterns(arguments: Sequence[str], options: RenderOptions) -> None:
    """Raise UsageError for arguments and patterns that cannot work together, before any job is read."""
    if sum(argument == "-" for argument in arguments) > 1:
        raise UsageError("- (standard input) can be read only once")
    for output in options.outputs:
        check_pattern("-o", output, len(arguments))
    for option, path in (("--latents", options.latents), ("--preview", options.preview)):
        if path is not None:
            check_pattern(option, str(path), len(arguments))


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
