"""Prints progress as lines: plain text for logs and pipes, one JSON object per line for programs."""

from __future__ import annotations

import json
import threading
import time
from types import TracebackType
from typing import Any, Self

from scope_batch.events import (
    Assigned,
    ChunkDone,
    Event,
    Finished,
    Loading,
    Remote,
    Resumed,
    Started,
    Submitted,
    Warned,
)
from scope_batch.progress import wording
from scope_batch.progress.reporter import Clock
from scope_batch.progress.stream import TolerantStream
from scope_batch.progress.summary import State

CHUNK_LINE_S = 1.0
HEARTBEAT_S = 29.0
"""Checked once a second, so that there is a line at least every 30 s."""


class PlainLines:
    """Writes lines to `stream`; after `heartbeat_s` seconds without one, a thread writes the current state.

    With several devices a line begins with `job` and the device. chunks: also what is loaded, and each chunk.
    """

    def __init__(
        self,
        stream: TolerantStream,
        clock: Clock = time.monotonic,
        heartbeat_s: float = HEARTBEAT_S,
        *,
        job: str = "",
        chunks: bool = True,
    ) -> None:
        self._stream = stream
        self._job = job
        self._chunks = chunks
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._state = State()
        self._line_at_s = clock()
        self._chunk_at_s = float("-inf")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._line_at_s = self._clock()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(1.0)  # it may be blocked by a stalled reader

    def show(self, event: Event, state: State) -> None:
        with self._lock:
            self._state = state
            for line in self._lines(event):
                self._write_line(line)

    def note(self, line: str) -> None:
        with self._lock:
            self._write_line(line)

    def beat(self) -> None:
        """Write the current state if there was no line for `heartbeat_s` seconds."""
        with self._lock:
            silent_s = self._clock() - self._line_at_s
            if silent_s >= self._heartbeat_s:
                self._write_line(wording.heartbeat(self._state, silent_s))

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._heartbeat_s / 4)):
            self.beat()

    def _lines(self, event: Event) -> list[str]:
        match event:
            case Assigned():
                return [wording.assigned(event, self._state)]
            case Loading(what=what) if self._chunks:
                return [f"loading {what}"]
            case Remote(what=what):
                return [what]
            case Submitted():
                return [wording.submitted(event)]
            case Resumed():
                return [wording.resumed(event)]
            case Started():
                return [*wording.outputs(event), wording.start(event)]
            case ChunkDone() if self._chunks and self._chunk_line_is_due():
                return [wording.chunk(event, self._state)]
            case Warned(message=message):
                return [f"warning: {message}"]
            case Finished():
                return wording.end(event)
        return []

    def _chunk_line_is_due(self) -> bool:
        now_s = self._clock()
        if now_s - self._chunk_at_s < CHUNK_LINE_S:
            return False
        self._chunk_at_s = now_s
        return True

    def _write_line(self, line: str) -> None:
        self._line_at_s = self._clock()
        device = self._state.batch.device
        self._stream.line(f"{self._job} on {device}: {line}" if device else line)


class JsonLines:
    """Writes JSON lines {"t": seconds since `origin_s` on `clock`, "job": its name, "event": ..., ...}.

    With several jobs in one call each line also has "job_number" (from 1) and "jobs", a chunk's line "jobs_eta_s"; with
    several devices, "device".
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
        """Do nothing: every line was flushed."""

    def show(self, event: Event, state: State) -> None:
        values = event.to_json()
        if state.batch.jobs > 1:
            values |= {"job_number": state.batch.position, "jobs": state.batch.jobs}
        if state.batch.device:
            values["device"] = state.batch.device
        if isinstance(event, ChunkDone) and state.jobs_eta_at_s is not None:
            values["jobs_eta_s"] = state.jobs_eta_s(state.now_s)
        self._write(values)

    def note(self, line: str) -> None:
        self._write({"event": "note", "message": line})

    def _write(self, values: dict[str, Any]) -> None:
        head = {"t": round(self._clock() - self._origin_s, 3), "job": self._job}
        self._stream.line(json.dumps(head | values, separators=(",", ":")))
