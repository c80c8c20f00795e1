"""Follows a job on a server by its stream of events, over lost connections and restarts of the server."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from scope_batch.errors import (
    DegradedError,
    Interrupted,
    JobError,
    MissingInputError,
    OutputError,
    OutputExistsError,
    ScopeBatchError,
    TemporaryError,
    TimeLimitError,
    UnavailableError,
)
from scope_batch.events import ChunkDone, ChunkStarted, Event, Loading, Report, Resumed, Started, Warned
from scope_batch.submit.connection import LostError, Patience, Server


class CancelledJob(Interrupted):
    """The job was cancelled on the server, by whomever."""

    def __init__(self, server: str) -> None:
        super().__init__(signal.SIGINT, reason=f"{server}: the job was cancelled")


ENDED = ("done", "failed", "cancelled")
"""Events after which there are none."""
_EVENTS: Mapping[str, type[Event]] = {
    kind.kind: kind for kind in (Loading, Started, Resumed, ChunkStarted, ChunkDone, Warned)
}
_ERRORS = (
    JobError,
    MissingInputError,
    UnavailableError,
    OutputExistsError,
    OutputError,
    TemporaryError,
    DegradedError,
    TimeLimitError,
)


def follow(
    server: Server,
    job: str,
    report: Report,
    outputs: tuple[str, ...],
    on_end: Callable[[str], object] = lambda _: None,
) -> None:
    """Report the events of a job until it is done.

    outputs  names of the files that will be written here.
    on_end   called with "done", "failed" or "cancelled" when the job has ended, before anything is raised.
    Raises the error with which `render` would have ended, UnknownJobError, or LostError when the server is gone.
    """
    last, patience = 0, Patience(server)
    while True:
        try:
            headers = {"Last-Event-ID": str(last), "Accept": "text/event-stream"}
            with server.stream(f"/api/v1/jobs/{job}/events", headers) as answer:
                if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                    raise LostError(f"{server.url}: the answer is no stream of events")
                for number, kind, data in events_in(_heard(answer.iter_lines(), patience)):
                    last = max(last, number)
                    if kind == "error":
                        raise LostError(f"{server.url}: {data.get('error', 'the stream ended with an error')}")
                    if kind in ENDED:
                        on_end(kind)
                        _raise_unless_done(server, kind, data)
                        return
                    if (event := _event(kind, data, outputs)) is not None:
                        report(event)
            raise LostError(f"{server.url}: the stream of events broke off")
        except LostError as error:
            patience.wait(error)


def _heard(lines: Iterable[str], patience: Patience) -> Iterator[str]:
    """Yield the lines; each of them, also a mere sign of life, shows that the server is there."""
    for line in lines:
        patience.begin_anew()
        yield line


def events_in(lines: Iterable[str]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield (number, kind, data) of each event of a text/event-stream; 0 for one without a number.

    Raises TemporaryError for data that is no JSON object.
    """
    number, kind, data = 0, "", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id" if value.isdecimal():
                number = int(value)
            case "event":
                kind = value
            case "data":
                data += value
            case "" if not line and kind and data:
                yield number, kind, _object(data)
        if not line:
            number, kind, data = 0, "", ""


def _object(data: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TemporaryError(f"the server sent an event that cannot be read: {data[:60]!a}")
    return value


def _event(kind: str, data: Mapping[str, Any], outputs: tuple[str, ...]) -> Event | None:
    """Return the event of a render; None for one that this version does not know."""
    event_type = _EVENTS.get(kind)
    if event_type is None:
        return None
    values = {"outputs": outputs, "folder": "the server", **data}
    names = [field.name for field in fields(event_type)]
    if not all(name in values for name in names):
        return None
    return event_type(**{name: values[name] for name in names})


def _raise_unless_done(server: Server, kind: str, data: Mapping[str, Any]) -> None:
    if kind == "cancelled":
        raise CancelledJob(server.url)
    if kind == "failed":
        raise _failure(int(data.get("exit_code", 0)), str(data.get("error", "")))


def _failure(exit_code: int, message: str) -> ScopeBatchError:
    """Return the error that has this exit code."""
    error_type = next((error for error in _ERRORS if error.exit_code == exit_code), ScopeBatchError)
    return error_type(*message.splitlines() if issubclass(error_type, JobError | MissingInputError) else [message])
