"""Renders the jobs of a command on several devices, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.cli.console import CommandConsole
from scope_batch.cli.environment import library_variables, prepare_libraries
from scope_batch.cli.error_boundary import Boundary
from scope_batch.cli.job_results import Begin, JobResults
from scope_batch.cli.output_patterns import STDOUT
from scope_batch.cli.queued_job import QueuedJob
from scope_batch.cli.signals import Signals
from scope_batch.errors import Interrupted, TimeLimitError, UsageError
from scope_batch.events import Assigned, Event
from scope_batch.progress import Batch, Reporter

if TYPE_CHECKING:
    from scope_batch.farm.devices import Device
    from scope_batch.farm.messages import Inbox, Worker
    from scope_batch.farm.ray_cluster import RayOptions
    from scope_batch.farm.scheduler import OpenWorker, Scheduler
    from scope_batch.farm.waiting import Task


@dataclass(slots=True)
class _Shown:
    """A job in work: its progress, and where its current attempt began."""

    queued: QueuedJob
    report: Reporter
    boundary: Boundary
    stack: ExitStack
    begin: Begin
    attempts: int = 1

    def note_reach(self) -> None:
        for line in self.queued.reach:
            self.report.note(f"note: {line}")


class DeviceQueue(JobResults):
    """Renders jobs on devices of this machine or of a Ray cluster; it is the scheduler's `Watch`."""

    def __init__(
        self, console: CommandConsole, arguments: Sequence[str], *, fail_fast: bool, ledger: Path | None = None
    ) -> None:
        super().__init__(console, arguments, fail_fast=fail_fast, ledger=ledger)
        self._signals: Signals | None = None
        self._scheduler: Scheduler | None = None
        self._jobs: Sequence[QueuedJob] = ()
        self._devices: Sequence[Device] = ()
        self._shown: dict[int, _Shown] = {}

    def render_all(
        self, jobs: Sequence[QueuedJob], devices: Sequence[Device], signals: Signals, ray: RayOptions | None = None
    ) -> None:
        """Render the jobs on the devices, or on those of a Ray cluster. Raises UsageError if one writes to standard
        output, UnavailableError if the cluster cannot be reached."""
        from scope_batch.farm.scheduler import Scheduler

        self._jobs, self._signals = jobs, signals
        for job in jobs:
            if STDOUT in job.named_outputs:
                raise UsageError(f"{job.argument}: standard output (-) takes frames from one device only")
        outer = self._console
        with outer.board(len(jobs)) as self._console:
            try:
                with (
                    self._farm(jobs, devices, ray) as (self._devices, open_worker),
                    Scheduler(self._devices, open_worker) as scheduler,
                ):
                    scheduler.open(len(jobs))
                    tasks = self._tasks(jobs)
                    self._scheduler = scheduler
                    self._stop_if_asked()
                    scheduler.run(tasks, self)
            except Interrupted as error:
                if not self._shown:
                    raise
                for number in list(self._shown):
                    self._end(number, error)
            finally:
                self._scheduler = None
        self._console = outer

    @contextmanager
    def _farm(
        self, jobs: Sequence[QueuedJob], devices: Sequence[Device], ray: RayOptions | None
    ) -> Iterator[tuple[Sequence[Device], OpenWorker]]:
        verbose, deterministic = self._console.verbose, any(job.options.deterministic for job in jobs)
        if ray is not None:
            from scope_batch.farm.ray_cluster import connected

            with connected(ray, library_variables(verbose=verbose, deterministic=deterministic)) as farm:
                yield farm
            return
        from scope_batch.farm.local_worker import LocalWorker

        prepare = partial(prepare_libraries, verbose=verbose, deterministic=deterministic)

        def open_worker(device: Device, inbox: Inbox) -> Worker:
            return LocalWorker(device, inbox, prepare)

        yield devices, open_worker

    def _tasks(self, jobs: Sequence[QueuedJob]) -> list[Task]:
        """Plan the jobs. One that cannot be planned ends here; so does planning, if then no further job is started."""
        from scope_batch.farm.planning import planned_job, tasks_of

        planned = []
        for number, queued in enumerate(jobs):
            try:
                job = planned_job(number, queued.job, queued.stem, queued.options)
            except Exception as error:  # noqa: BLE001  (a fault of one job must not end the others)
                self._show(number, Begin(""), Batch(queued.position, len(self._arguments))).note_reach()
                self._end(number, error)
                if self.over:
                    break
            else:
                planned.append(replace(job, expected_s=0.0) if queued.ends_at_once else job)
        return tasks_of(planned)

    def busy(self) -> bool:
        """Return True while there are workers, which then decide what a signal ends."""
        return self._scheduler is not None

    def announce(self, signum: int | None) -> None:
        for shown in list(self._shown.values()):
            if shown.report.state.busy:
                text = shown.report.finishing(again=bool(signum))
                shown.report.note(("" if signum else "the time is up: ") + text)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._scheduler is None or self._signals is None:
            return  # the jobs are still being planned
        try:
            self._signals.check()
        except (Interrupted, TimeLimitError) as error:
            self._scheduler.stop(error)

    def started(self, task: Task, device: Device, worker: str, waiting_s: float) -> None:
        total = len(self._arguments)
        queued = self._jobs[task.number]
        later_work = waiting_s / task.expected_s / len(self._devices) if task.expected_s else 0.0
        batch = Batch(queued.position, total, later_work, device.name)
        if (shown := self._shown.get(task.number)) is not None:
            shown.report.begin_again(batch)
            shown.attempts += 1
            shown.begin = Begin(device.name, device.host)
        else:
            shown = self._show(task.number, Begin(device.name, device.host), batch)
        shown.report(Assigned(device.name, worker, shown.attempts))
        if shown.attempts == 1:
            shown.note_reach()

    def _show(self, number: int, begin: Begin, batch: Batch) -> _Shown:
        queued = self._jobs[number]
        stack = ExitStack()
        report = stack.enter_context(self._console.reporter(queued.argument, batch))
        shown = _Shown(queued, report, self._console.boundary(queued.argument), stack, begin)
        self._shown[number] = shown
        return shown

    def event(self, task: Task, event: Event) -> None:
        self._shown[task.number].report(event)

    def lost(self, task: Task, reason: str, idle_s: float) -> None:
        from scope_batch.errors import TemporaryError

        shown = self._shown[task.number]
        shown.report.note(f"warning: {reason}")
        begin = replace(shown.begin, idle_s=idle_s)
        self.note_attempt(shown.queued, begin, shown.report, "lost", TemporaryError.exit_code, reason)

    def ended(self, task: Task, error: BaseException | None, idle_s: float) -> None:
        if task.number not in self._shown:  # no device was left for it
            self._show(task.number, Begin(""), Batch(self._jobs[task.number].position, len(self._arguments)))
        self._end(task.number, error, idle_s)

    def left_out(self, device: Device, reason: str) -> None:
        self._console.warn(f"{device.name} is left out: {reason}")

    def _end(self, number: int, error: BaseException | None, idle_s: float = 0.0) -> None:
        shown = self._shown.pop(number)
        with shown.boundary, shown.stack:
            if error is not None:
                raise error
        self.end(shown.queued, replace(shown.begin, idle_s=idle_s), shown.boundary, shown.report)
