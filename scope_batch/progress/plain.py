"""Progress as lines, for logs and pipes: never more than about one chunk line per second, never silent for long."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from scope_batch.events import ChunkDone, Event, Finished, Loading, Started, Warned
from scope_batch.progress import words
from scope_batch.progress.reporter import Clock
from scope_batch.progress.state import State
from scope_batch.progress.stream import TolerantStream

CHUNK_LINE_S = 1.0
HEARTBEAT_S = 29.0
"""Looked at once a second, so that no silence is longer than 30 s."""


class PlainLines:
    """Writes lines to `stream`; a thread says what is going on after `heartbeat_s` seconds without any."""

    def __init__(self, stream: TolerantStream, clock: Clock = time.monotonic, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._stream = stream
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._state = State()
        self._line_at_s = clock()
        self._chunk_at_s = float("-inf")
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._watch, name="progress-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._line_at_s = self._clock()
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._heart.join(1.0)  # it may be held up by a reader that has stopped

    def show(self, event: Event, state: State) -> None:
        with self._lock:
            self._state = state
            for line in self._lines(event):
                self._say(line)

    def note(self, line: str) -> None:
        with self._lock:
            self._say(line)

    def beat(self) -> None:
        """Say what is going on if nothing has been said for the length of a heartbeat."""
        with self._lock:
            silent_s = self._clock() - self._line_at_s
            if silent_s >= self._heartbeat_s:
                self._say(words.heartbeat(self._state, silent_s))

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self._heartbeat_s / 4)):
            self.beat()

    def _lines(self, event: Event) -> list[str]:
        match event:
            case Loading(what=what):
                return [f"loading {what}"]
            case Started():
                return [*words.outputs(event), words.start(event)]
            case ChunkDone() if self._chunk_line_is_due():
                return [words.chunk(event, self._state)]
            case Warned(message=message):
                return [f"warning: {message}"]
            case Finished():
                return words.end(event)
        return []

    def _chunk_line_is_due(self) -> bool:
        now_s = self._clock()
        if now_s - self._chunk_at_s < CHUNK_LINE_S:
            return False
        self._chunk_at_s = now_s
        return True

    def _say(self, line: str) -> None:
        self._line_at_s = self._clock()
        self._stream.line(line)
