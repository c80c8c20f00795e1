"""`render`: the jobs in turn; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.cli.boundary import Boundary
from scope_batch.cli.job_argument import read_job, stem_of
from scope_batch.cli.places import check_meeting, check_pattern, fill
from scope_batch.cli.showing import Showing
from scope_batch.errors import Interrupted, TimeLimitError, UsageError
from scope_batch.progress import Reporter
from scope_batch.signals import Signals

if TYPE_CHECKING:
    from scope_batch.engines import Engines
    from scope_batch.job import Job
    from scope_batch.options import RenderOptions


@dataclass(frozen=True, slots=True)
class Order:
    """One job that could be read, and where its files go."""

    argument: str
    job: Job
    options: RenderOptions


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
    queue = _Queue(showing, len(arguments), fail_fast=fail_fast)
    with Signals(timeout_s, queue.announce, queue.busy) as signals:
        orders = [order for argument in arguments if (order := queue.read(argument, overrides, options))]
        check_meeting([_named_outputs(order) for order in orders])
        for order in orders:
            if not queue.over:
                queue.render(order, signals)
    queue.sum_up()
    return queue.exit_code


class _Queue:
    """What the jobs have come to so far, and which one is being rendered."""

    def __init__(self, showing: Showing, total: int, *, fail_fast: bool) -> None:
        self._showing = showing
        self._total = total
        self._fail_fast = fail_fast
        self._report: Reporter | None = None
        self._failures: list[tuple[str, int]] = []
        self._rendered = 0
        self._engines: Engines | None = None
        self.over = False

    @property
    def exit_code(self) -> int:
        return self._failures[0][1] if self._failures else 0

    def read(self, argument: str, overrides: Sequence[str], options: RenderOptions) -> Order | None:
        with self._showing.boundary(argument) as boundary:
            job = read_job(argument, overrides, options.models)
            return Order(argument, job, _filled(options, job, stem_of(argument)))
        self._take(argument, boundary)
        return None

    def render(self, order: Order, signals: Signals) -> None:
        from scope_batch.engines import Engines
        from scope_batch.render import render_job

        if self._engines is None:
            self._engines = Engines()
        if self._total > 1:
            self._showing.remark(f"job {order.argument}")
        boundary = self._showing.boundary(order.argument)
        with boundary, self._showing.reporter(order.argument) as report:
            self._report = report
            signals.check()
            render_job(order.job, stem_of(order.argument), order.options, report, signals, self._engines)
        self._report = None
        self._take(order.argument, boundary)

    def busy(self) -> bool:
        return self._report is not None and self._report.state.busy

    def announce(self, signum: int | None) -> None:
        if self._report is not None and self.busy():
            self._report.note(("" if signum else "the time is up: ") + self._report.finishing(again=bool(signum)))

    def sum_up(self) -> None:
        if self._total > 1:
            names = ", ".join(f"{name} ({code})" for name, code in self._failures)
            failed = f"{len(self._failures)} failed: {names}" if names else "none failed"
            self._showing.remark(f"{self._rendered} of {self._total} jobs rendered, {failed}")

    def _take(self, argument: str, boundary: Boundary) -> None:
        if boundary.error is None:
            self._rendered += 1
            return
        self._failures.append((argument, boundary.exit_code))
        all_over = isinstance(boundary.error, Interrupted | TimeLimitError | KeyboardInterrupt)
        self.over = self.over or all_over or self._fail_fast


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
