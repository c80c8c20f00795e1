"""Runs the jobs of a table on worker processes, one for each device, and replaces a worker that dies."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from scope_batch.errors import EXIT_BUG, TemporaryError
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.records import JobRecord, JobSettings, Progress
from scope_batch.jobs.worker import Order, Result
from scope_batch.jobs.worker_process import WorkerProcess
from scope_batch.render.options import DEFAULT_OPTIONS, RenderOptions

MAX_LOST_WORKERS = 3
"""So many times a job goes on after its worker was lost; then it fails."""
LOST = TemporaryError.exit_code
"""Exit code of a job whose workers were lost."""
RETRY_S = 5.0
"""When the table cannot be written, try again after so many seconds."""
_NOT_STORED = ("stage", "finished")
"""Kinds of events that the table does not keep: steps inside a chunk, and the end of one attempt."""


class DrainingError(TemporaryError):
    """The server is shutting down and takes no more jobs."""


class Supervisor:
    """Runs the jobs of `table` from `__enter__` on, those that were interrupted too; `__exit__` drains.

    queue_length  so many jobs may wait beside those that run.
    """

    def __init__(
        self,
        table: JobTable,
        options: RenderOptions = DEFAULT_OPTIONS,
        devices: Sequence[str] = ("auto",),
        queue_length: int = 0,
    ) -> None:
        self._table = table
        self._most_active = len(devices) + queue_length
        self._lanes = [_Lane(table, replace(options, device=device)) for device in devices]

    def __enter__(self) -> Self:
        for lane in self._lanes:
            lane.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drain()

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        return [pid for lane in self._lanes if (pid := lane.worker_pid) is not None]

    def submit(self, request: str, settings: JobSettings, caller: str = "") -> JobRecord:
        """Add a job. Raises BusyError if no more may run or wait, DrainingError after `drain`."""
        if any(lane.draining for lane in self._lanes):
            raise DrainingError("the server is shutting down")
        return self._table.submit(request, settings, most_active=self._most_active, caller=caller)

    def cancel(self, job: str) -> JobRecord | None:
        """Cancel a job in any state; a running one ends after the chunk in flight. Returns it as it is then."""
        record = self._table.cancel(job)
        if record is not None and record.state == "running":
            for lane in self._lanes:
                lane.cancel(job)
        return record

    def drain(self, timeout_s: float | None = None) -> None:
        """Take no more jobs, let each worker commit the chunk in flight, and mark its job as interrupted.

        A worker that needs more than `timeout_s` is killed; its job is interrupted too.
        """
        for lane in self._lanes:
            lane.drain()
        for lane in self._lanes:
            lane.join(timeout_s)
            if lane.is_alive():
                lane.kill()
                lane.join()


class _Lane(threading.Thread):
    """Takes one job after another and renders it on one device."""

    def __init__(self, table: JobTable, options: RenderOptions) -> None:
        super().__init__(name=f"jobs on {options.device}", daemon=True)
        self._table, self._options = table, options
        self._lock = threading.Lock()
        """Guards the three attributes below; no message is sent to a worker without it."""
        self._worker: WorkerProcess | None = None
        self._job: str | None = None
        self.draining = False
        self._pause = threading.Event()
        self._unfinished: str | None = None
        """A job whose end could not be stored."""

    @property
    def worker_pid(self) -> int | None:
        with self._lock:
            return None if self._worker is None else self._worker.pid

    def cancel(self, job: str) -> None:
        with self._lock:
            if self._job == job and self._worker is not None:
                self._worker.cancel(job)

    def drain(self) -> None:
        with self._lock:
            self.draining = True
            if self._worker is not None:
                self._worker.drain()
        self._pause.set()
        self._table.wake()

    def kill(self) -> None:
        with self._lock:
            if self._worker is not None:
                self._worker.kill()

    def run(self) -> None:
        self._ensure_worker()
        more = True
        while more and not self.draining:
            try:
                more = self._run_next()
            except Exception as error:  # such as a full disk under the table: nothing may end this thread
                logging.getLogger(__name__).error("%s", error, exc_info=error)
                self._end_worker()
                self._pause.wait(RETRY_S)
        self._end_worker()

    def _run_next(self) -> bool:
        """Run the next job to its end. Returns False if there will be none. Raises OutputError for the table."""
        if self._unfinished is not None:
            self._set_aside(self._unfinished)
            self._unfinished = None
        job = self._table.take_next(lambda: not self.draining, wait=True)
        if job is None:
            return False
        self._unfinished = job.id
        while not self._attempt(job):
            job = self._table.count_lost_worker(job.id)
        self._unfinished = None
        return True

    def _set_aside(self, unfinished: str) -> None:
        """Let a job that an error of this thread interrupted wait again, or fail if that happens too often."""
        record = self._table.get(unfinished)
        if record is None or record.state != "running":
            return
        if record.lost_workers >= MAX_LOST_WORKERS:
            self._table.end(unfinished, "failed", error="internal error of the server", exit_code=EXIT_BUG)
        else:
            self._table.count_lost_worker(unfinished)
            self._table.interrupt(unfinished)

    def _attempt(self, job: JobRecord) -> bool:
        """Render a job as far as one worker comes. Returns False if another worker is to continue it."""
        result = self._begin(job) or self._follow(job)
        with self._lock:
            self._job = None
        if result.leaving:
            self._end_worker()
        if result.retry:
            record = self._table.get(job.id)
            assert record is not None, "a running job is never removed"
            if record.cancel_requested:
                result = Result("cancelled")
            elif self.draining:
                result = Result("interrupted")
            elif record.lost_workers < MAX_LOST_WORKERS:
                return False
        if result.outcome == "interrupted":
            self._table.interrupt(job.id)
        else:
            self._table.end(
                job.id, result.outcome, outputs=result.outputs, error=result.error, exit_code=result.exit_code
            )
        return True

    def _begin(self, job: JobRecord) -> Result | None:
        """Hand the job to the worker. Returns a result if there is nothing to do any more."""
        folder = str(self._table.folder(job.id))
        self._ensure_worker()
        with self._lock:
            record = self._table.get(job.id)
            if record is not None and record.cancel_requested:
                return Result("cancelled")
            if self.draining:
                return Result("interrupted")
            if self._worker is None:
                return Result("failed", error="no worker process can be started", exit_code=LOST, retry=True)
            self._job = job.id
            self._worker.render(Order(job.id, job.request, folder, job.settings))
        return None

    def _follow(self, job: JobRecord) -> Result:
        """Store the events of the job until the worker is done with it."""
        assert self._worker is not None
        progress = job.progress
        try:
            while "result" not in (message := self._worker.receive()):
                event = message["event"]
                following = after_event(progress, event)
                if following is not None and event["event"] not in _NOT_STORED:
                    progress = following
                    self._table.append_event(job.id, event["event"], event, progress)
        except EOFError:
            status = self._end_worker()
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            return Result("failed", error=f"the worker process {how}", exit_code=LOST, retry=True)
        values = message["result"]
        return Result(**{**values, "outputs": tuple(values["outputs"])})

    def _ensure_worker(self) -> None:
        with self._lock:
            if self._worker is None and not self.draining:
                with contextlib.suppress(OSError):
                    self._worker = WorkerProcess(self._options)

    def _end_worker(self) -> int:
        """Wait for the worker to leave; returns its exit status."""
        with self._lock:
            worker, self._worker = self._worker, None
        return 0 if worker is None else worker.close()


def after_event(progress: Progress, event: Mapping[str, Any]) -> Progress | None:
    """Return the progress after an event of the job; None for one that a resumed job repeats."""
    match event:
        case {"event": "started"}:
            started = Progress(progress.chunks_done, event["chunks"], progress.frames_done, event["num_frames"])
            return started if progress.num_chunks == 0 else None
        case {"event": "chunk-started"} if event["chunk"] < progress.chunks_done:
            return None
        case {"event": "chunk"}:
            done = replace(progress, chunks_done=event["chunk"] + 1, frames_done=event["frames_done"])
            return done if progress.chunks_done < done.chunks_done else None
    return progress
