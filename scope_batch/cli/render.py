"""`render`: renders jobs one after another; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.cli.console import CommandConsole
from scope_batch.cli.device_queue import DeviceQueue
from scope_batch.cli.job_results import Begin, JobResults
from scope_batch.cli.output_patterns import check_distinct
from scope_batch.cli.queued_job import QueuedJob, later_work, name_jobs
from scope_batch.cli.render_sheet import check_sheet, write_sheet
from scope_batch.cli.signals import Signals
from scope_batch.progress import Batch, Reporter

if TYPE_CHECKING:
    from scope_batch.farm.devices import Device
    from scope_batch.farm.ray_cluster import RayOptions
    from scope_batch.render.engine_pool import Engines
    from scope_batch.render.options import RenderOptions


def render_jobs(
    arguments: Sequence[str],
    overrides: Sequence[str],
    options: RenderOptions,
    console: CommandConsole,
    *,
    sweeps: Sequence[str] = (),
    timeout_s: float | None = None,
    fail_fast: bool = False,
    depfile: Path | None = None,
    ledger: Path | None = None,
    sheet: Path | None = None,
    devices: Sequence[Device] = (),
    ray: RayOptions | None = None,
) -> int:
    """Render every job. Returns the exit code of the first failure, 0 if there was none.

    All jobs are read before the first one is rendered, so that a mistake in the last one is reported at once. `options`
    still has placeholders such as `{job}`. sweeps: texts as KEY=V1,V2, of which each argument makes several jobs.
    sheet: a contact sheet of all jobs. devices: several ones render jobs at the same time; ray: those of a
    cluster do.
    """
    named = name_jobs(arguments, overrides, sweeps, options)
    kind = DeviceQueue if len(devices) > 1 or ray is not None else JobQueue
    queue = kind(console, [job.label for job in named], fail_fast=fail_fast, ledger=ledger)
    with Signals(timeout_s, queue.announce, queue.busy) as signals:
        jobs = [
            queued
            for position, job in enumerate(named)
            if (queued := queue.read(position, partial(job.queued, position + 1, options)))
        ]
        check_distinct([job.named_outputs for job in jobs])
        if sheet is not None:
            check_sheet(sheet, jobs, overwrite=options.overwrite)
        if isinstance(queue, DeviceQueue):
            queue.render_all(jobs, devices, signals, ray)
        else:
            queue.render_all(jobs, signals)
    queue.sum_up()
    if depfile is not None and queue.exit_code == 0:
        _write_depfile(depfile, jobs)
    if sheet is None or queue.over or not any(map(queue.is_whole, jobs)):
        return queue.exit_code
    with console.boundary(str(sheet)) as boundary:
        write_sheet(sheet, jobs, queue.is_whole)
        console.remark(f"wrote {sheet}")
    return queue.exit_code or boundary.exit_code


def _write_depfile(path: Path, jobs: Sequence[QueuedJob]) -> None:
    from scope_batch.files.access import make_folders
    from scope_batch.render.depfile import depfile_rules
    from scope_batch.render.prepare import outputs_of
    from scope_batch.sinks.output import output_errors

    rules = []
    for queued in jobs:
        options = queued.options
        outputs = outputs_of(queued.job, options.outputs, options.output_format, queued.stem)
        rules.append(depfile_rules(queued.job, outputs))
    with output_errors(path):
        make_folders(path.parent)
        path.write_text("\n".join(rules), encoding="utf-8", errors="surrogateescape")


class JobQueue(JobResults):
    """Renders jobs in this process, one after another."""

    _report: Reporter | None = None
    _engines: Engines | None = None
    _texts: Sequence[str] = ()

    def render_all(self, jobs: Sequence[QueuedJob], signals: Signals) -> None:
        self._texts = tuple(dict.fromkeys(text for job in jobs if not job.ends_at_once for text in job.texts))
        for job, work in zip(jobs, later_work(jobs), strict=True):
            if not self.over:
                self.render(job, work, signals)

    def render(self, queued: QueuedJob, later_work: float, signals: Signals) -> None:
        """Render one job. `later_work`: work of the later jobs, as a multiple of this one's."""
        from scope_batch.render.engine_pool import Engines
        from scope_batch.render.loop import render_job

        if self._engines is None:
            self._engines = Engines(self._texts)
        total = len(self._arguments)
        if total > 1:
            self._console.remark(f"job {queued.position} of {total}: {self._arguments[queued.position - 1]}")
        begin, boundary = Begin(queued.options.device), self._console.boundary(queued.argument)
        reporter = self._console.reporter(queued.argument, Batch(queued.position, total, later_work))
        with boundary, reporter as report:
            self._report = report
            for line in queued.reach:
                report.note(f"note: {line}")
            signals.check()
            render_job(queued.job, queued.stem, queued.options, report, signals, self._engines)
        self._report = None
        self.end(queued, begin, boundary, reporter)

    def busy(self) -> bool:
        return self._report is not None and self._report.state.busy

    def announce(self, signum: int | None) -> None:
        if self._report is not None and self.busy():
            self._report.note(("" if signum else "the time is up: ") + self._report.finishing(again=bool(signum)))
