"""Sends the events of a job to one client as they happen, until the last one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.listeners import Change
from scope_batch.jobs.records import JobRecord, StoredEvent
from scope_batch.serve.downloads import hang_up
from scope_batch.serve.job_events import encode, is_last, protocol_event, request_warnings, started

HEARTBEAT_S = 15.0
_HEARTBEAT = b": still here\n\n"
_RETRY = b"retry: 3000\n\n"
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
log = logging.getLogger(__name__)

Words = Callable[[StoredEvent, JobRecord], "tuple[str, Mapping[str, Any]] | None"]
"""Returns the name and the data of an event in one dialect; None for an event that the dialect does not have."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One client's wish.

    after       number of the last event that the client has.
    on_hang_up  called if it leaves before the last event.
    heartbeat_s a comment is sent after so many seconds without an event.
    words       the dialect in which it hears of the events.
    position    returns how many jobs must end before a job begins. If given, the stream starts with `started`, and
                tells every change of the number until it is 0.
    """

    table: JobTable
    job: str
    after: int = 0
    on_hang_up: Callable[[], object] | None = None
    heartbeat_s: float = HEARTBEAT_S
    words: Words = protocol_event
    position: Callable[[JobRecord], int] | None = None


class EventStream(Response):
    """Answers with a text/event-stream that ends after exactly one of `complete`, `cancelled` and `error`.

    The job does not depend on the stream: a client that does not read holds up nothing but its own answer.
    """

    def __init__(self, listener: Listener, closing: asyncio.Event) -> None:
        """`closing` is set when the server shuts down: streams end with an `error`, jobs are interrupted."""
        super().__init__()
        self._listener, self._closing = listener, closing
        self._after = listener.after
        self._is_new = listener.after == 0
        self._position: int | None = None
        """The last one that the client was told."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI)
        job, loop, changed = self._listener.job, asyncio.get_running_loop(), asyncio.Event()

        def listen(change: Change) -> None:
            waits = self._listener.position is not None and self._position != 0  # then the jobs ahead matter, too
            if change.job == job or (waits and not change.is_news):
                loop.call_soon_threadsafe(changed.set)

        headers = {**_HEADERS, "X-Job-Id": job}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        gone = asyncio.create_task(hang_up(receive))
        ended = False
        try:
            with self._listener.table.listeners.listening(listen):
                await send({"type": "http.response.start", "status": 200, "headers": raw})
                await send({"type": "http.response.body", "body": _RETRY, "more_body": True})
                while not ended and not gone.done():
                    changed.clear()
                    closing = self._closing.is_set()
                    blocks, ended = await run_in_threadpool(self._next)
                    if closing and not ended:
                        ended = True
                        blocks.append(encode("error", {"error": "the server is shutting down; the job will go on"}))
                    for block in blocks:
                        await send({"type": "http.response.body", "body": block, "more_body": True})
                    if not blocks and not ended and not await self._wait(changed, gone):
                        await send({"type": "http.response.body", "body": _HEARTBEAT, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
            if not ended and not self._closing.is_set():
                loop.run_in_executor(None, self._hang_up)

    def _hang_up(self) -> None:
        if self._listener.on_hang_up is None:
            return
        try:
            self._listener.on_hang_up()
        except Exception as error:  # there is nobody who could be told
            log.error("the job %s of a client that left: %s", self._listener.job, error, exc_info=error)

    def _next(self) -> tuple[list[bytes], bool]:
        """Return the events that are new, and whether the last one is among them."""
        record, events = self._listener.table.news(self._listener.job, self._after)
        if record is None:
            return [encode("error", {"error": "the job was deleted"})], True
        blocks = [encode(*event) for event in self._opening(record)]
        self._is_new = False
        for event in events:
            self._after = event.number
            if (known := self._listener.words(event, record)) is not None:
                blocks.append(encode(*known, event.number))
            if is_last(event):
                return blocks, True
        return blocks, record.has_ended and not events

    def _opening(self, record: JobRecord) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the events that no table keeps: where the job stands, and what is wrong with its request."""
        if self._listener.position is not None:
            position, before = self._listener.position(record), self._position
            self._position = position
            if self._is_new:
                yield started(record, position)
            elif position != (before or 0):
                yield "position", {"job": record.id, "position": position}
        if self._is_new:
            yield from request_warnings(record)

    async def _wait(self, changed: asyncio.Event, gone: asyncio.Task[None]) -> bool:
        """Wait for a change of the job, the end of the client or of the server; False after the heartbeat's time."""
        waiting = [asyncio.create_task(event.wait()) for event in (changed, self._closing)]
        try:
            done, _ = await asyncio.wait(
                [*waiting, gone], timeout=self._listener.heartbeat_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in waiting:
                task.cancel()
        return bool(done)
