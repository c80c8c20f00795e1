"""Keeps jobs and their events in an SQLite file, for the threads of one process at a time."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from scope_batch.errors import OutputError, TemporaryError
from scope_batch.jobs.database import open_database, record_of
from scope_batch.jobs.listeners import Change, Listeners
from scope_batch.jobs.records import (
    ENDED,
    WAITING,
    WORK,
    BusyError,
    EndState,
    JobRecord,
    JobSettings,
    Progress,
    StoredEvent,
)

MAX_EVENTS = 2000
"""So many events are kept of each job, the last ones; `started`, which says what the job renders, is always kept."""
_WAITING = f"state IN {WAITING}"
_ENDED = f"state IN {ENDED}"


class JobTable:
    """The jobs of one state directory. All methods may be called from any thread, and survive a killed process.

    A job has a folder of its own, `folder(id)`, which is removed with it. Jobs that a killed process left running are
    interrupted when the table is opened, and wait for a worker as queued ones do.
    """

    def __init__(
        self, state_dir: Path, *, max_events: int = MAX_EVENTS, clock: Callable[[], float] = time.time
    ) -> None:
        """Create the directory if need be. Raises TemporaryError if another process uses it, else OutputError."""
        self._root = state_dir.absolute()
        self._max_events, self._clock = max_events, clock
        self._changed = threading.Condition(threading.RLock())
        self.listeners = Listeners()
        self._closed = False
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._root / "jobs").mkdir(mode=0o700, exist_ok=True)
            self._lock = FileLock(self._root / "lock", timeout=0, thread_local=False)
            self._lock.acquire()
        except Timeout as error:
            raise TemporaryError(f"{self._root}: another server uses this state directory") from error
        except OSError as error:
            raise OutputError(f"{self._root}: cannot be used as state directory: {error.strerror}") from error
        try:
            self._db = open_database(self._root / "jobs.sqlite3")
            self._recover()
        except BaseException:
            self._lock.release()
            raise

    def _recover(self) -> None:
        """Interrupt what a killed process left running, and remove the folders that it was removing."""
        self._db.execute("UPDATE job SET state = 'interrupted' WHERE state = 'running'")
        states = {row["id"]: row["state"] for row in self._db.execute("SELECT id, state FROM job")}
        for folder in (self._root / "jobs").iterdir():
            if folder.name not in states:
                shutil.rmtree(folder, ignore_errors=True)
            elif states[folder.name] in ENDED:
                shutil.rmtree(folder / WORK, ignore_errors=True)

    def close(self) -> None:
        """Wake whoever waits, and let another process use the directory. May be called again."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            self._db.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def folder(self, job: str) -> Path:
        """Return the folder of a job, which holds its outputs and stored chunks."""
        return self._root / "jobs" / job

    def submit(
        self, request: str, settings: JobSettings, *, most_active: int, caller: str = "", key: str | None = None
    ) -> JobRecord:
        """Add a queued job, or return that of the same key. Raises BusyError if `most_active` jobs have not ended."""
        job = secrets.token_hex(16)
        with self._transaction(job):
            if key is not None and (earlier := self.with_key(key)) is not None:
                return earlier
            (active,) = self._db.execute(f"SELECT COUNT(*) FROM job WHERE NOT {_ENDED}").fetchone()
            if active >= most_active:
                raise BusyError(f"busy: {active} of at most {most_active} jobs run or wait")
            self._db.execute(
                "INSERT INTO job (id, request, settings, caller, key, submitted_s) VALUES (?, ?, ?, ?, ?, ?)",
                (job, request, json.dumps(asdict(settings)), caller, key, self._clock()),
            )
            self.folder(job).mkdir(mode=0o700)
            return self._get(job)

    def get(self, job: str) -> JobRecord | None:
        return next(iter(self._select("WHERE id = ?", job)), None)

    def with_key(self, key: str) -> JobRecord | None:
        return next(iter(self._select("WHERE key = ?", key)), None)

    def records(self, limit: int = 20, *, after: str | None = None, newest_first: bool = True) -> list[JobRecord]:
        """Return at most `limit` jobs in the order of their submission, or in reverse; `after`: those behind a job."""
        sign, order = ("<", "DESC") if newest_first else (">", "ASC")
        behind = f"WHERE ? IS NULL OR number {sign} (SELECT number FROM job WHERE id = ?)"
        return self._select(f"{behind} ORDER BY number {order} LIMIT ?", after, after, limit)

    def active(self) -> list[JobRecord]:
        """Return the jobs that run or wait, the oldest first."""
        return self._select(f"WHERE NOT {_ENDED} ORDER BY number")

    def jobs_ahead(self, job: str) -> int:
        """Return how many jobs run or wait that were submitted before this one."""
        older = "number < (SELECT number FROM job WHERE id = ?)"
        with self._changed:
            rows = self._db.execute(f"SELECT COUNT(*) FROM job WHERE NOT {_ENDED} AND {older}", (job,))
            return int(rows.fetchone()[0])

    def take_next(self, wanted: Callable[[], bool] = lambda: True, *, wait: bool = False) -> JobRecord | None:
        """Mark the oldest job that waits as running and return it; None if there is none, or none is wanted any more.

        wait  wait for one until `wanted` returns False, which `wake` makes it ask again.
        """
        with self._changed:
            while not self._closed and wanted():
                if row := self._db.execute(f"SELECT id FROM job WHERE {_WAITING} ORDER BY number LIMIT 1").fetchone():
                    return self._set(row["id"], "state = 'running', started_s = coalesce(started_s, ?)", self._clock())
                if not wait:
                    return None
                self._changed.wait()
        return None

    def wake(self) -> None:
        """Let every thread that waits in `take_next` ask whether a job is still wanted."""
        with self._changed:
            self._changed.notify_all()

    def interrupt(self, job: str) -> JobRecord:
        """A running job waits again."""
        return self._set(job, "state = 'interrupted'")

    def count_lost_worker(self, job: str) -> JobRecord:
        return self._set(job, "lost_workers = lost_workers + 1")

    def cancel(self, job: str) -> JobRecord | None:
        """Cancel a job: one that waits ends at once, a running one when its worker has heard of it; an ended one stays
        as it is. Returns the job as it is then; None if there is none."""
        with self._changed:
            record = self.get(job)
            if record is None or record.has_ended:
                return record
            if record.state == "running":
                return self._set(job, "cancel_requested = 1")
            self.end(job, "cancelled")
            return self._get(job)

    def end(
        self, job: str, state: EndState, *, outputs: tuple[str, ...] = (), error: str = "", exit_code: int = 0
    ) -> bool:
        """Give a job its end and its last event, and remove its stored chunks, which no call can use any more.

        Returns False, and changes nothing, if it has ended before.
        """
        error = error.encode("utf-8", "backslashreplace").decode()  # a file name in it may not be UTF-8
        with self._transaction(job):
            record = self._get(job)
            if record.has_ended:
                return False
            progress = record.progress
            if state == "done":
                progress = replace(progress, chunks_done=progress.num_chunks, frames_done=progress.num_frames)
            self._db.execute(
                "UPDATE job SET state = ?, outputs = ?, error = ?, exit_code = ?, progress = ?, finished_s = ? "
                "WHERE id = ?",
                (state, json.dumps(outputs), error, exit_code, json.dumps(asdict(progress)), self._clock(), job),
            )
            last = {"outputs": outputs, "frames": progress.frames_done, "error": error, "exit_code": exit_code}
            self._add(job, state, last)
        shutil.rmtree(self.folder(job) / WORK, ignore_errors=True)  # else it goes when the table is opened again
        return True

    def append_event(
        self, job: str, kind: str, data: Mapping[str, Any], progress: Progress | None = None
    ) -> StoredEvent | None:
        """Store an event, and with it how far the job is. Returns None, and stores nothing, if the job has ended."""
        with self._transaction(job, is_news=True):
            if self._get(job).has_ended:
                return None
            if progress is not None:
                self._db.execute("UPDATE job SET progress = ? WHERE id = ?", (json.dumps(asdict(progress)), job))
            return self._add(job, kind, data)

    def events(self, job: str, after: int = 0) -> list[StoredEvent]:
        """Return the events whose number is higher than `after`, as far as they are kept."""
        return self._events(job, "event.number > ? ORDER BY event.number", after)

    def first_event(self, job: str, kind: str) -> StoredEvent | None:
        """Return the first event of a kind, without reading those behind it."""
        return next(iter(self._events(job, "kind = ? ORDER BY event.number LIMIT 1", kind)), None)

    def news(self, job: str, after: int = 0) -> tuple[JobRecord | None, list[StoredEvent]]:
        """Return `get` and `events` as of one moment: the last event is there if, and only if, the job has ended."""
        with self._changed:
            return self.get(job), self.events(job, after)

    def remove(self, job: str) -> bool:
        """Remove a job that has ended, with its events and its folder. Returns whether there was one."""
        with self._transaction(job):
            removed = self._db.execute(f"DELETE FROM job WHERE id = ? AND {_ENDED}", (job,)).rowcount > 0
        if removed:
            shutil.rmtree(self.folder(job), ignore_errors=True)  # else it goes when the table is opened again
        return removed

    def discard(self, job: str) -> None:
        """Let `remove_unwanted` remove a job when it has ended, after a restart too. No-op if there is none."""
        with self._transaction(job):
            self._db.execute("UPDATE job SET unwanted = 1, key = NULL WHERE id = ?", (job,))

    def remove_unwanted(self) -> None:
        for record in self._select(f"WHERE unwanted AND {_ENDED}"):
            self.remove(record.id)

    def expire(self, keep_s: float) -> list[str]:
        """Remove every job that ended more than `keep_s` seconds ago; returns their ids."""
        old = self._select(f"WHERE {_ENDED} AND finished_s < ?", self._clock() - keep_s)
        return [record.id for record in old if self.remove(record.id)]

    def _select(self, clauses: str, *values: Any) -> list[JobRecord]:
        with self._changed:
            rows = self._db.execute(f"SELECT * FROM job {clauses}", values).fetchall()
        return [record_of(row) for row in rows]

    def _events(self, job: str, clauses: str, *values: Any) -> list[StoredEvent]:
        joined = f"SELECT event.* FROM event JOIN job ON event.job = job.number WHERE job.id = ? AND {clauses}"
        with self._changed:
            rows = self._db.execute(joined, (job, *values)).fetchall()
        return [StoredEvent(job, row["number"], row["kind"], row["data"]) for row in rows]

    def _get(self, job: str) -> JobRecord:
        if (record := self.get(job)) is None:
            raise KeyError(job)
        return record

    def _set(self, job: str, assignments: str, *values: Any) -> JobRecord:
        """Change the columns of a job. Raises KeyError if there is no such job."""
        with self._transaction(job):
            self._db.execute(f"UPDATE job SET {assignments} WHERE id = ?", (*values, job))
            return self._get(job)

    def _add(self, job: str, kind: str, data: Mapping[str, Any]) -> StoredEvent:
        text = json.dumps(data)
        key, number = self._db.execute(
            "SELECT job.number, coalesce(max(event.number), 0) + 1 FROM job LEFT JOIN event ON event.job = job.number "
            "WHERE job.id = ?",
            (job,),
        ).fetchone()
        self._db.execute("INSERT INTO event (job, number, kind, data) VALUES (?, ?, ?, ?)", (key, number, kind, text))
        oldest = number - self._max_events
        self._db.execute("DELETE FROM event WHERE job = ? AND number <= ? AND kind != 'started'", (key, oldest))
        return StoredEvent(job, number, kind, text)

    @contextmanager
    def _transaction(self, job: str, *, is_news: bool = False) -> Iterator[None]:
        """Make all changes or none, and tell those who wait or listen. Raises OutputError, such as on a full disk."""
        with self._changed:
            try:
                with self._db:
                    self._db.execute("BEGIN IMMEDIATE")
                    yield
            except (sqlite3.OperationalError, OSError) as error:
                raise OutputError(f"{self._root}: the table of jobs cannot be written: {error}") from error
            self._changed.notify_all()
            self.listeners.tell(Change(job, is_news))
