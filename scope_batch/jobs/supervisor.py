"""Runs the jobs of a table on worker processes, one for each device, and replaces a worker that dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

from scope_batch.errors import TemporaryError
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.lane import CHUNK_TIMEOUT_S, Lane
from scope_batch.jobs.records import JobRecord, JobSettings
from scope_batch.jobs.worker import LoadOrder
from scope_batch.render.options import DEFAULT_OPTIONS, RenderOptions


class DrainingError(TemporaryError):
    """The server is shutting down and takes no more jobs."""


class Supervisor:
    """Runs the jobs of `table` from `__enter__` on, those that were interrupted too; `__exit__` drains.

    queue_length     so many jobs may wait beside those that run.
    chunk_timeout_s  a worker whose chunk takes longer is killed, and its job fails; so is one that makes no progress
                     for so long outside the chunks.
    """

    def __init__(
        self,
        table: JobTable,
        options: RenderOptions = DEFAULT_OPTIONS,
        devices: Sequence[str] = ("auto",),
        queue_length: int = 0,
        chunk_timeout_s: float = CHUNK_TIMEOUT_S,
    ) -> None:
        self._table = table
        self._most_active = len(devices) + queue_length
        self._lanes = [Lane(table, replace(options, device=device), chunk_timeout_s) for device in devices]

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

    def submit(self, request: str, settings: JobSettings, caller: str = "", key: str | None = None) -> JobRecord:
        """Add a job, as the table does. Raises BusyError if no more may run or wait, DrainingError after `drain`."""
        if any(lane.draining for lane in self._lanes):
            raise DrainingError("the server is shutting down")
        return self._table.submit(request, settings, most_active=self._most_active, caller=caller, key=key)

    def cancel(self, job: str) -> JobRecord | None:
        """Cancel a job in any state; a running one ends after the chunk in flight. Returns it as it is then."""
        record = self._table.cancel(job)
        if record is not None and record.state == "running":
            for lane in self._lanes:
                lane.cancel(job)
        return record

    def load(self, order: LoadOrder, done: Callable[[str], object]) -> None:
        """Load an engine in every worker, so that the jobs for it start at once. Returns before it is loaded.

        done  called from another thread with "", or with why a worker could not load it; not called if another `load`
              comes before, or the server shuts down.
        """
        lock, errors = threading.Lock(), list[str]()

        def answer(error: str) -> None:
            with lock:
                errors.append(error)
                if len(errors) == len(self._lanes):
                    done(next(filter(None, errors), ""))

        for lane in self._lanes:
            lane.load(order, answer)

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
