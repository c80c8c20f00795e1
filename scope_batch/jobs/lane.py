"""Runs jobs of a table on one device, one after another, on a worker process that is replaced when it dies."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from scope_batch.errors import EXIT_BUG, TemporaryError, TimeLimitError
from scope_batch.jobs.child_process import MAX_LOST_WORKERS, how_it_ended
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.records import JobRecord, Progress
from scope_batch.jobs.worker import LoadOrder, Order, Result
from scope_batch.jobs.worker_process import WorkerProcess
from scope_batch.render.options import RenderOptions

LOST = TemporaryError.exit_code
"""Exit code of a job whose workers were lost."""
CHUNK_TIMEOUT_S = 3600.0
START_S = 120.0
"""The first order of a process may take so many seconds more, in which it starts and imports."""
RETRY_S = 5.0
"""When the table cannot be written, try again after so many seconds."""
_NOT_STORED = ("stage", "figures", "finished")
"""Kinds of events that the table does not keep: steps inside a chunk, its figures (a resumed job measures them again),
and the end of one attempt."""


class Lane(threading.Thread):
    """Takes one job after another and renders it on one device.

    chunk_timeout_s  for one chunk, for the time between two events before the first chunk, and for the end of the
                     output; a worker that needs longer is killed.
    """

    def __init__(self, table: JobTable, options: RenderOptions, chunk_timeout_s: float = CHUNK_TIMEOUT_S) -> None:
        super().__init__(name=f"jobs on {options.device}", daemon=True)
        self._table, self._options, self._chunk_timeout_s = table, options, chunk_timeout_s
        self._lock = threading.Lock()
        """Guards the attributes below up to `draining`; no message is sent to a worker without it."""
        self._worker: WorkerProcess | None = None
        self._spare: WorkerProcess | None = None
        """A worker that has nothing loaded, so that a job whose worker dies need not wait for a start and imports."""
        self._job: str | None = None
        self._load: tuple[LoadOrder, Callable[[str], object]] | None = None
        self.draining = False
        self._pause = threading.Event()
        self._unfinished: str | None = None
        """A job whose end could not be stored."""

    @property
    def worker_pid(self) -> int | None:
        with self._lock:
            return None if self._worker is None else self._worker.pid

    def load(self, order: LoadOrder, done: Callable[[str], object]) -> None:
        """Load an engine before the next job; `done` is called with "" or the cause why it could not be loaded."""
        with self._lock:
            self._load = order, done
        self._table.wake()

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
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()

    def _run_next(self) -> bool:
        """Run the next job to its end. Returns False if there will be none. Raises OutputError for the table."""
        if self._unfinished is not None:
            self._set_aside(self._unfinished)
            self._unfinished = None
        job = self._table.take_next(lambda: not self.draining and self._load is None, wait=True)
        if job is None:
            return self._load_engine()
        self._unfinished = job.id
        while not self._attempt(job):
            pass
        self._unfinished = None
        return True

    def _set_aside(self, unfinished: str) -> None:
        """Let a job that an error of this thread interrupted wait again, or fail if that happens too often."""
        record = self._table.get(unfinished)
        if record is None or record.state != "running":
            return
        if self._table.count_lost_worker(unfinished).lost_workers >= MAX_LOST_WORKERS:
            self._table.end(unfinished, "failed", error="internal error of the server", exit_code=EXIT_BUG)
        else:
            self._table.interrupt(unfinished)

    def _load_engine(self) -> bool:
        """Load the engine that was asked for. Returns False if none was."""
        with self._lock:
            asked, self._load = self._load, None
        if asked is None or self.draining:
            return False
        order, done = asked
        self._ensure_worker()
        with self._lock:
            if self._worker is not None:
                self._worker.load(order)
        result = _no_worker() if self._worker is None else self._result("the load")
        if result.leaving:
            self._end_worker()
        done(result.error)
        return True

    def _attempt(self, job: JobRecord) -> bool:
        """Render a job as far as one worker comes. Returns False if another worker is to continue it."""
        result = self._begin(job) or self._follow(job)
        with self._lock:
            self._job = None
        if result.leaving:
            self._end_worker()
        if result.retry or result.exit_code == TimeLimitError.exit_code:
            record = self._table.get(job.id)
            assert record is not None, "a running job is never removed"
            if record.cancel_requested:
                result = Result("cancelled")
        if result.retry:
            if self.draining:
                result = Result("interrupted")
            elif self._table.count_lost_worker(job.id).lost_workers < MAX_LOST_WORKERS:
                return False
            else:
                result = replace(result, error=f"given up after {MAX_LOST_WORKERS} attempts; the last: {result.error}")
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
                return _no_worker()
            self._job = job.id
            self._worker.render(Order(job.id, job.request, folder, job.settings))
            if self._spare is None:
                self._spare = self._start()
        return None

    def _follow(self, job: JobRecord) -> Result:
        """Store the events of the job until the worker is done with it."""
        record = self._table.get(job.id)
        progress = job.progress if record is None else record.progress

        def store(event: dict[str, Any]) -> None:
            nonlocal progress
            following = after_event(progress, event)
            if following is not None and event["event"] not in _NOT_STORED:
                progress = following
                self._table.append_event(job.id, event["event"], event, progress)

        return self._result("the preparation of the job", store)

    def _result(self, doing: str, store: Callable[[dict[str, Any]], object] = lambda _: None) -> Result:
        """Wait until the worker is done with what it was told to do; hand on its events.

        doing  the work before the first chunk, for messages.
        """
        assert self._worker is not None
        timeout_s = self._chunk_timeout_s
        deadline_s = time.monotonic() + timeout_s + (0 if self._worker.has_answered else START_S)
        try:
            while "result" not in (message := self._worker.receive(max(0.0, deadline_s - time.monotonic()))):
                event = message["event"]
                if event["event"] == "chunk-started":
                    doing = f"chunk {event['chunk'] + 1}"
                elif event["event"] == "chunk" and event["chunk"] + 1 == event["chunks"]:
                    doing = "the output"
                if event["event"] != "stage":  # a chunk's stages share its time
                    deadline_s = time.monotonic() + timeout_s
                store(event)
        except TimeoutError:
            self.kill()
            self._end_worker()
            error = f"{doing} did not end within {timeout_s:g} s (--chunk-timeout)"
            return Result("failed", error=error, exit_code=TimeLimitError.exit_code)
        except EOFError:
            error = f"the worker process {how_it_ended(self._end_worker())}"
            return Result("failed", error=error, exit_code=LOST, retry=True)
        values = message["result"]
        return Result(**{**values, "outputs": tuple(values["outputs"])})

    def _ensure_worker(self) -> None:
        """Start a worker unless there is one that lives."""
        with self._lock:
            dead = [worker for worker in (self._worker, self._spare) if worker is not None and not worker.is_alive]
            self._spare = None if self._spare in dead else self._spare
            if self._worker in dead:
                self._worker = None
            if self._worker is None and not self.draining:
                self._worker, self._spare = self._spare or self._start(), None
        for worker in dead:
            worker.close()

    def _start(self) -> WorkerProcess | None:
        """Start a worker; None if the system has no room for one."""
        with contextlib.suppress(OSError):
            return WorkerProcess(self._options)
        return None

    def _end_worker(self) -> int:
        """Wait for the worker to leave; returns its exit status."""
        with self._lock:
            worker, self._worker = self._worker, None
        return 0 if worker is None else worker.close()


def _no_worker() -> Result:
    return Result("failed", error="no worker process can be started", exit_code=LOST, retry=True)


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
