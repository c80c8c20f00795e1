"""`render`: the jobs in turn; one that fails does not stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.cli.boundary import Boundary
from scope_batch.cli.job_argument import read_job, stem_of
from scope_batch.cli.places import check_meeting, check_pattern, fill
from scope_batch.cli.showing import Showing
from scope_batch.errors import Interrupted, TimeLimitError, UsageError
from scope_batch.events import Finished
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.progress import Batch, Reporter, words
from scope_batch.signals import Signals

if TYPE_CHECKING:
    from scope_batch.engines import Engines
    from scope_batch.job import Job
    from scope_batch.options import RenderOptions


@dataclass(frozen=True, slots=True)
class Order:
    """One job that could be read, where it stands among those of the call (from 1), and where its files go."""

    argument: str
    position: int
    job: Job
    options: RenderOptions

    @property
    def work(self) -> int | None:
        """Pixels in all its frames, None if their number is not known before its inputs are looked at."""
        job = self.job
        if not isinstance(job.num_frames, int):
            return None
        spec = KNOWN_PIPELINES.get(job.pipeline_id)
        return job.num_frames * (job.height or spec.height) * (job.width or spec.width)


def render_jobs(
    arguments: Sequence[str],
    overrides: Sequence[str],
    options: RenderOptions,
    showing: Showing,
    *,
    timeout_s: float | None = None,
    fail_fast: bool = False,
) -> int:
    """Render every job; returns the exit code: that of the first failure, 0 if there was none.

    All jobs are read before the first one is rendered, so that a typing error in the last shows at once. `options`
    still has holes such as `{job}`.
    """
    _check_patterns(arguments, options)
    queue = _Queue(showing, arguments, fail_fast=fail_fast)
    with Signals(timeout_s, queue.announce, queue.busy) as signals:
        orders = [order for position in range(len(arguments)) if (order := queue.read(position, overrides, options))]
        check_meeting([_named_outputs(order) for order in orders])
        for order, later_work in zip(orders, _later_work(orders), strict=True):
            if not queue.over:
                queue.render(order, later_work, signals)
    queue.sum_up()
    return queue.exit_code


class _Queue:
    """What the jobs have come to so far, and which one is being rendered. `results`: a line per job, once it is known.

    `over`: no further job is started.
    """

    def __init__(self, showing: Showing, arguments: Sequence[str], *, fail_fast: bool) -> None:
        self._showing = showing
        self._arguments = arguments
        self._fail_fast = fail_fast
        self._report: Reporter | None = None
        self._results: dict[int, str] = {}
        self._outcomes: Counter[str] = Counter()
        self._engines: Engines | None = None
        self.exit_code = 0
        self.over = False

    def read(self, position: int, overrides: Sequence[str], options: RenderOptions) -> Order | None:
        argument = self._arguments[position]
        with self._showing.boundary(argument) as boundary:
            job = read_job(argument, overrides, options.models)
            return Order(argument, position + 1, job, _filled(options, job, stem_of(argument)))
        self._fail(position, boundary)
        return None

    def render(self, order: Order, later_work: float, signals: Signals) -> None:
        """`later_work`: of the jobs that follow, as a multiple of this one's."""
        from scope_batch.engines import Engines
        from scope_batch.render import render_job

        if self._engines is None:
            self._engines = Engines()
        total = len(self._arguments)
        if total > 1:
            self._showing.remark(f"job {order.position} of {total}: {order.argument}")
        boundary = self._showing.boundary(order.argument)
        batch = Batch(order.position, total, later_work)
        finished: Finished | None = None
        with boundary, self._showing.reporter(order.argument, batch) as report:
            self._report = report
            signals.check()
            finished = render_job(order.job, stem_of(order.argument), order.options, report, signals, self._engines)
        self._report = None
        if finished is None:
            self._fail(order.position - 1, boundary)
        else:
            self._outcomes[finished.outcome] += 1
            self._results[order.position - 1] = words.result(finished)

    def busy(self) -> bool:
        return self._report is not None and self._report.state.busy

    def announce(self, signum: int | None) -> None:
        if self._report is not None and self.busy():
            self._report.note(("" if signum else "the time is up: ") + self._report.finishing(again=bool(signum)))

    def sum_up(self) -> None:
        """A line for each of several jobs, and how many came to what."""
        total = len(self._arguments)
        if total == 1:
            return
        width = max(map(len, self._arguments))
        for position, argument in enumerate(self._arguments):
            self._showing.remark(f"{argument:<{width}}  {self._results.get(position, 'not started')}")
        counts = {
            "skipped": self._outcomes["skipped"],
            "failed": self._outcomes["failed"],
            "stopped": self._outcomes["stopped"],
            "not started": total - len(self._results),
        }
        others = "".join(f", {count} {what}" for what, count in counts.items() if count)
        self._showing.remark(f"{self._outcomes['done']} of {total} jobs rendered{others}")

    def _fail(self, position: int, boundary: Boundary) -> None:
        error = boundary.error
        all_over = isinstance(error, Interrupted | TimeLimitError | KeyboardInterrupt)
        outcome = "stopped" if all_over else "failed"
        why = next(iter(str(error).splitlines()), type(error).__name__)
        self._outcomes[outcome] += 1
        self._results[position] = f"{outcome} ({boundary.exit_code}): {why}"
        self.exit_code = self.exit_code or boundary.exit_code
        self.over = self.over or all_over or self._fail_fast


def _later_work(orders: Sequence[Order]) -> list[float]:
    """Per job the work of all that follow it, as a multiple of its own; a job of unknown length counts as an average
    one."""
    known = [work for order in orders if (work := order.work) is not None]
    average = sum(known) / len(known) if known else 1.0
    works = [average if order.work is None else order.work for order in orders]
    return [sum(works[index + 1 :]) / work for index, work in enumerate(works)]


def _check_patterns(arguments: Sequence[str], options: RenderOptions) -> None:
    if sum(argument == "-" for argument in arguments) > 1:
        raise UsageError("- (standard input) can be read only once")
    for output in options.outputs:
        check_pattern("-o", output, len(arguments))
    for option, path in (("--latents", options.latents), ("--preview", options.preview)):
        if path is not None:
            check_pattern(option, str(path), len(arguments))


def _filled(options: RenderOptions, job: Job, stem: str) -> RenderOptions:
    def path(pattern: Path | None) -> Path | None:
        return None if pattern is None else Path(fill(str(pattern), job, stem))

    outputs = tuple(fill(output, job, stem) for output in options.outputs)
    return replace(options, outputs=outputs, latents=path(options.latents), preview=path(options.preview))


def _named_outputs(order: Order) -> list[str]:
    """The files that a job is known to write, and standard output."""
    outputs = [*order.options.outputs] or [str(output.path) for output in order.job.output]
    beside = [str(path) for path in (order.options.latents, order.options.preview) if path]
    return [*(outputs or [f"{stem_of(order.argument)}.mp4"]), *beside]
