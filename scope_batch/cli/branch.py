"""Implements `branch`: several endings of one job, whose common opening is rendered once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.cli.console import CommandConsole
from scope_batch.cli.job_argument import read_job, stem_of
from scope_batch.cli.output_patterns import STDOUT, check_distinct, check_pattern, fill, name_with
from scope_batch.cli.queued_job import QueuedJob, later_work
from scope_batch.cli.render import JobQueue
from scope_batch.cli.signals import Signals
from scope_batch.errors import JobError, UsageError

if TYPE_CHECKING:
    from scope_batch.core.plan import Chunk
    from scope_batch.job import Job
    from scope_batch.render.options import RenderOptions


@dataclass(frozen=True, slots=True)
class Branch:
    """Where the endings part, and what the opening's chunks are made from.

    number  chunk that is the first of every ending.
    """

    argument: str
    options: RenderOptions
    base: Job
    first: Chunk

    def ending(self, number: int, change: str) -> QueuedJob:
        """Ending `number`, from 1, in which `change` (KEY=VALUE) is applied. Raises JobError for a faulty one."""
        job = read_job(self.argument, self._override(change), self.options.models)
        keep = (*job.keep_state, self.first.index) if number == 1 else job.keep_state
        job = job.model_copy(update={"keep_state": keep, "output": _numbered_outputs(job, number)})
        stem = f"{stem_of(self.argument)}-{number}"
        outputs = tuple(fill(pattern, job, stem_of(self.argument), ending=number) for pattern in self.options.outputs)
        options = replace(self.options, outputs=outputs, keep_work=self.options.keep_work or number == 1)
        return QueuedJob(self.argument, number, job, options, job_stem=stem)

    def _override(self, change: str) -> list[str]:
        """A field of an entry is set in a new entry at the branching chunk, any other key as `render --set` does."""
        from scope_batch.job.chunk_spec import ChunkSpec

        key = change.partition("=")[0]
        if key not in ChunkSpec.model_fields:
            return [change]
        entry = f"chunk_specs.{len(self.base.chunk_specs)}"
        return [f"{entry}.frame={self.first.first_frame}", f"{entry}.{change}"]


def render_branches(
    argument: str,
    at: int,
    changes: Sequence[str],
    options: RenderOptions,
    console: CommandConsole,
) -> int:
    """Render an ending for each of `changes`, from delivered frame `at` on. Returns an exit code as `render_jobs` does.

    The first ending keeps its work folder until the others, which start with its chunks, are rendered.
    """
    for pattern in options.outputs:
        check_pattern("-o", pattern, len(changes), each="ending")
    labels = [f"ending {number}: {change}" for number, change in enumerate(changes, 1)]
    queue = JobQueue(console, labels, fail_fast=True)
    with Signals(None, queue.announce, queue.busy) as signals:
        branch = _branch_at(argument, at, options)
        jobs = [
            queue.read(number - 1, partial(branch.ending, number, change)) for number, change in enumerate(changes, 1)
        ]
        endings = [job for job in jobs if job is not None]
        if queue.exit_code:
            return queue.exit_code
        check_distinct([job.named_outputs for job in endings])
        opening = _opening_of(endings[0])
        with console.boundary(argument) as boundary:
            _check_openings(endings, branch.first)
        if boundary.exit_code:
            return boundary.exit_code
        for job, work in zip(endings, later_work(endings), strict=True):
            if not queue.over:
                queue.render(_reusing(job, opening), work, signals)
    if queue.exit_code == 0 and not options.keep_work:
        from scope_batch.sinks.output_set import remove_work_folder

        remove_work_folder(opening)
    queue.sum_up()
    return queue.exit_code


def _branch_at(argument: str, at: int, options: RenderOptions) -> Branch:
    from scope_batch.render.prepare import prepare_job

    base = read_job(argument, (), options.models)
    plan = prepare_job(base)
    if not 0 <= at < plan.num_frames:
        raise UsageError(f"--at {at}: the job has frames 0 to {plan.num_frames - 1}")
    first = next(chunk for chunk in reversed(plan.chunks) if chunk.first_frame <= at)
    if first.index == 0:
        second = f"; chunk 1 begins at frame {plan.chunks[1].first_frame}" if len(plan.chunks) > 1 else ""
        raise UsageError(f"--at {at}: lies in the first chunk, so that the endings would share nothing{second}")
    return Branch(argument, options, base, first)


def _check_openings(endings: Sequence[QueuedJob], first: Chunk) -> None:
    """Raise JobError for an ending that changes anything before chunk `first`."""
    from scope_batch.checkpoint.provenance import differences
    from scope_batch.render.engine_pool import request_of
    from scope_batch.render.fingerprint import provenance_of
    from scope_batch.render.prepare import prepare_job

    made = []
    for ending in endings:
        plan = prepare_job(ending.job)
        made.append(provenance_of(plan, request_of(ending.job, plan, ending.options)))
    for number, other in enumerate(made[1:], 2):
        changed = [entry for entry in differences(made[0].engine, other.engine) if entry.field != "plan"]
        for index in range(first.index):
            changed += differences(made[0].chunks[index], other.chunks[index], index)
        if changed:
            raise JobError(f"endings 1 and {number} differ before frame {first.first_frame}: {changed[0]}")


def _opening_of(ending: QueuedJob) -> Path:
    """Return the path in whose work folder the ending stores its chunks."""
    from scope_batch.render.prepare import outputs_of

    options = ending.options
    outputs = outputs_of(ending.job, options.outputs, options.output_format, ending.stem)
    path = next((output.path for output in outputs if output.path is not None), None)
    if path is None:
        raise UsageError("branch writes files: name one with -o or in the job")
    return path if options.work_dir is None else options.work_dir / path.name


def _reusing(ending: QueuedJob, opening: Path) -> QueuedJob:
    """Return the ending with the work folder of the first one to start with, if that is there."""
    from scope_batch.checkpoint.store import find_manifest
    from scope_batch.sinks.output import work_path

    folder = work_path(opening)
    if ending.position == 1 or find_manifest(folder) is None:
        return ending
    return replace(ending, options=replace(ending.options, reuse=folder))


def _numbered_outputs(job: Job, number: int) -> tuple[object, ...]:
    """Return the job's outputs with `-NUMBER` behind the name; behind the folder's name for a sequence of pictures."""
    numbered = []
    for output in job.output:
        path = str(output.path)
        path = path if path == STDOUT else name_with(path, str(number))
        numbered.append(output.model_copy(update={"path": path}))
    return tuple(numbered)
