"""Progress for programs: one JSON object per line, the event models as they are."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any, Self

from scope_batch.events import ChunkDone, Event
from scope_batch.progress.reporter import Clock
from scope_batch.progress.state import State
from scope_batch.progress.stream import TolerantStream


class JsonLines:
    """Each line is {"t": seconds since `origin_s` on `clock`, "job": its name, "event": ..., ...}.

    Of several jobs in one call each line also tells "job_number" (from 1) and "jobs", each chunk "jobs_eta_s".
    A note has the event "note" and its text under "message".
    """

    def __init__(self, stream: TolerantStream, job: str, origin_s: float, clock: Clock = time.monotonic) -> None:
        self._stream = stream
        self._job = job
        self._origin_s = origin_s
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put right: every line was flushed."""

    def show(self, event: Event, state: State) -> None:
        values = event.to_json()
        if state.batch.jobs > 1:
            values |= {"job_number": state.batch.position, "jobs": state.batch.jobs}
        if isinstance(event, ChunkDone) and state.jobs_eta_at_s is not None:
            values["jobs_eta_s"] = state.jobs_eta_s(state.now_s)
        self._write(values)

    def note(self, line: str) -> None:
        self._write({"event": "note", "message": line})

    def _write(self, values: dict[str, Any]) -> None:
        head = {"t": round(self._clock() - self._origin_s, 3), "job": self._job}
        self._stream.line(json.dumps(head | values, separators=(",", ":")))
