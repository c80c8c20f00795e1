"""`render`: renders jobs one after another; one that fails does not stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.cli.console import CommandConsole
from scope_batch.cli.error_boundary import Boundary
from scope_batch.cli.output_patterns import check_distinct
from scope_batch.cli.queued_job import QueuedJob, check_patterns, later_work, read_queued_job
from scope_batch.cli.signals import Signals
from scope_batch.errors import DegradedError, Interrupted, TimeLimitError
from scope_batch.events import Finished
from scope_batch.progress import Batch, Reporter, wording

if TYPE_CHECKING:
    from scope_batch.render.engine_pool import Engines
    from scope_batch.render.options import RenderOptions


def render_jobs(
    arguments: Sequence[str],
    overrides: Sequence[str],
    options: RenderOptions,
    console: CommandConsole,
    *,
    timeout_s: float | None = None,
    fail_fast: bool = False,
    depfile: Path | None = None,
) -> int:
    """Render every job. Returns the exit code of the first failure, 0 if there was none.

    All jobs are read before the first one is rendered, so that a mistake in the last one is reported at once. `options`
    still has placeholders such as `{job}`.
    """
    check_patterns(arguments, options)

    def read(position: int) -> QueuedJob:
        return read_queued_job(arguments[position], position + 1, overrides, options)

    queue = JobQueue(console, arguments, fail_fast=fail_fast)
    with Signals(timeout_s, queue.announce, queue.busy) as signals:
        jobs = [job for position in range(len(arguments)) if (job := queue.read(position, partial(read, position)))]
        check_distinct([job.named_outputs for job in jobs])
        for job, work in zip(jobs, later_work(jobs), strict=True):
            if not queue.over:
                queue.render(job, work, signals)
    queue.sum_up()
    if depfile is not None and queue.exit_code == 0:
        _write_depfile(depfile, jobs)
    return queue.exit_code


def _write_depfile(path: Path, jobs: Sequence[QueuedJob]) -> None:
    from scope_batch.render.depfile import depfile_rules
    from scope_batch.render.prepare import outputs_of
    from scope_batch.sinks.output import output_errors
    from scope_batch.sinks.work_folder import make_folders

    rules = []
    for queued in jobs:
        options = queued.options
        outputs = outputs_of(queued.job, options.outputs, options.output_format, queued.stem)
        rules.append(depfile_rules(queued.job, outputs))
    with output_errors(path):
        make_folders(path.parent)
        path.write_text("\n".join(rules), encoding="utf-8", errors="surrogateescape")


class JobQueue:
    """Renders jobs and collects a result line, by position, for each finished one.

    `over`: no further job is started.
    """

    def __init__(self, console: CommandConsole, arguments: Sequence[str], *, fail_fast: bool) -> None:
        self._console = console
        self._arguments = arguments
        self._fail_fast = fail_fast
        self._report: Reporter | None = None
        self._results: dict[int, str] = {}
        self._outcomes: Counter[str] = Counter()
        self._engines: Engines | None = None
        self.exit_code = 0
        self.over = False

    def read(self, position: int, read: Callable[[], QueuedJob]) -> QueuedJob | None:
        """Return what `read` returns; None, with a line for the fault, if it raises."""
        with self._console.boundary(self._arguments[position]) as boundary:
            return read()
        self._fail(position, boundary)
        return None

    def render(self, queued: QueuedJob, later_work: float, signals: Signals) -> None:
        """Render one job. `later_work`: work of the later jobs, as a multiple of this one's."""
        from scope_batch.render.engine_pool import Engines
        from scope_batch.render.loop import render_job

        if self._engines is None:
            self._engines = Engines()
        total = len(self._arguments)
        if total > 1:
            self._console.remark(f"job {queued.position} of {total}: {self._arguments[queued.position - 1]}")
        boundary = self._console.boundary(queued.argument)
        batch = Batch(queued.position, total, later_work)
        finished: Finished | None = None
        with boundary, self._console.reporter(queued.argument, batch) as report:
            self._report = report
            for line in queued.reach:
                report.note(f"note: {line}")
            signals.check()
            finished = render_job(queued.job, queued.stem, queued.options, report, signals, self._engines)
        self._report = None
        if finished is None:
            self._fail(queued.position - 1, boundary)
        else:
            self._outcomes[finished.outcome] += 1
            self._results[queued.position - 1] = wording.result(finished)

    def busy(self) -> bool:
        return self._report is not None and self._report.state.busy

    def announce(self, signum: int | None) -> None:
        if self._report is not None and self.busy():
            self._report.note(("" if signum else "the time is up: ") + self._report.finishing(again=bool(signum)))

    def sum_up(self) -> None:
        """Print a line for each of several jobs, and the number of jobs with each outcome."""
        total = len(self._arguments)
        if total == 1:
            return
        width = max(map(len, self._arguments))
        for position, argument in enumerate(self._arguments):
            self._console.remark(f"{argument:<{width}}  {self._results.get(position, 'not started')}")
        counts = {
            "skipped": self._outcomes["skipped"],
            "failed": self._outcomes["failed"],
            "stopped": self._outcomes["stopped"],
            "not started": total - len(self._results),
        }
        others = "".join(f", {count} {outcome}" for outcome, count in counts.items() if count)
        self._console.remark(f"{self._outcomes['done']} of {total} jobs rendered{others}")

    def _fail(self, position: int, boundary: Boundary) -> None:
        error = boundary.error
        stops_all = isinstance(error, Interrupted | TimeLimitError | KeyboardInterrupt)
        outcome = "stopped" if stops_all or isinstance(error, DegradedError) else "failed"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        self._outcomes[outcome] += 1
        self._results[position] = f"{outcome} ({boundary.exit_code}): {reason}"
        self.exit_code = self.exit_code or boundary.exit_code
        self.over = self.over or stops_all or self._fail_fast
