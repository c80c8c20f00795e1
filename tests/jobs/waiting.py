"""Waits for events of a job, as the streams of the server do: by listening to the table."""

from __future__ import annotations

import threading

from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.records import StoredEvent

PATIENCE_S = 120
"""No wait in these tests is that long; a hang fails."""


def next_events(table: JobTable, job: str, after: int) -> list[StoredEvent]:
    """Return the events whose number is higher than `after` as soon as there is one; none if there will be no more."""
    changed = threading.Event()
    with table.listeners.listening(lambda _: changed.set()):
        while True:
            changed.clear()
            record, events = table.news(job, after)
            if events or record is None or record.has_ended:
                return events
            assert changed.wait(PATIENCE_S), "nothing happens"
