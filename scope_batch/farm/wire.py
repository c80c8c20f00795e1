"""Writes the messages between a scheduler and a worker on another machine as JSON text, and reads them.

Nothing else crosses, and reading a text makes no code of its sender run.
"""

from __future__ import annotations

import builtins
import json
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from scope_batch import errors, events
from scope_batch.errors import Interrupted, ProblemsError, ScopeBatchError, TimeLimitError
from scope_batch.events import Event
from scope_batch.farm.messages import Death, Message, Order, Ready, Result, Stop
from scope_batch.files.urls import with_urls
from scope_batch.job import parse_job
from scope_batch.job.faults import Loc
from scope_batch.job.positions import Mark, Source
from scope_batch.render.options import RenderOptions

_OPTIONS = TypeAdapter(RenderOptions)
_MARKS = TypeAdapter(list[tuple[Loc, Mark]])
_EVENTS: dict[str, TypeAdapter[Event]] = {
    kind.kind: TypeAdapter(kind)
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}
_READY, _DEATH, _RESULT = "worker-ready", "worker-died", "worker-result"


def order_to_text(order: Order) -> str:
    """Return the order as JSON. An input in shared storage is named by its URL: its local copy is this machine's."""
    source = order.job.source
    values = {
        "job": _with_urls(order.job.model_dump(mode="json", exclude_defaults=True)),
        "source": [source.name, source.stem, source.warnings],
        "marks": _MARKS.dump_python([*source.marks.items()], mode="json"),
        "stem": order.stem,
        "options": _OPTIONS.dump_python(order.options, mode="json"),
        "vace": order.vace,
        "expected_bytes": order.expected_bytes,
    }
    return json.dumps(values)


def order_from_text(text: str) -> Order:
    """Return the order. Raises JobError for a job that this version does not take, ValueError if it is no order."""
    values = json.loads(text)
    name, stem, warnings = values["source"]
    marks = dict(_MARKS.validate_json(json.dumps(values["marks"])))
    job = parse_job(values["job"], Source(name, stem, marks, tuple(warnings)))
    options = _OPTIONS.validate_json(json.dumps(values["options"]))
    return Order(job, values["stem"], options, values["vace"], values["expected_bytes"])


def stop_to_text(stop: Stop) -> str:
    return json.dumps({"error": _error_to_json(stop.error), "now": stop.now})


def stop_from_text(text: str) -> Stop:
    values = json.loads(text)
    error = _error_from_json(values["error"])
    if not isinstance(error, Interrupted | TimeLimitError):
        raise ValueError(f"not a reason to stop a render: {error!r}")
    return Stop(error, values["now"])


def message_to_text(message: Message) -> str:
    if isinstance(message, Event):
        return json.dumps(message.to_json())
    if isinstance(message, Result):
        error = None if message.error is None else _error_to_json(message.error)
        values = {"event": _RESULT, "error": error, "traceback": message.traceback, "idle_s": message.idle_s}
    else:
        values = {"event": _READY if isinstance(message, Ready) else _DEATH, **asdict(message)}
    return json.dumps(values)


def message_from_text(text: str) -> Message:
    """Return the message. Raises ValueError for any other text."""
    values = json.loads(text)
    kind = values.pop("event")
    if kind == _READY:
        return Ready(**values)
    if kind == _DEATH:
        return Death(**values)
    if kind == _RESULT:
        error = None if values["error"] is None else _error_from_json(values["error"])
        return Result(error, values["traceback"], values["idle_s"])
    if kind not in _EVENTS:
        raise ValueError(f"unknown message: {kind}")
    return _EVENTS[kind].validate_json(json.dumps(values))


def _with_urls(value: Any) -> Any:
    if isinstance(value, str):
        return with_urls(value)
    if isinstance(value, list):
        return [_with_urls(item) for item in value]
    if isinstance(value, dict):
        return {with_urls(key): _with_urls(item) for key, item in value.items()}
    return value


def _error_to_json(error: BaseException) -> dict[str, Any]:
    """Return an error as its nearest class of `scope_batch.errors` or Python, and what that class is made from."""
    known = next(kind for kind in type(error).__mro__ if kind.__module__ in (errors.__name__, "builtins"))
    values: dict[str, Any] = {"error": known.__name__, "message": str(error), "notes": getattr(error, "__notes__", [])}
    if isinstance(error, Interrupted):
        values |= {"signum": error.signum, "now": error.now}
    elif isinstance(error, ProblemsError):
        values |= {"problems": error.problems, "more": error.more}
    elif isinstance(error, OSError) and error.errno is not None:
        filename = error.filename
        values |= {"errno": error.errno, "strerror": error.strerror}
        values |= {"filename": str(filename) if isinstance(filename, str | bytes) else None}
    return values


def _error_from_json(values: dict[str, Any]) -> BaseException:
    name, message = values["error"], values["message"]
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    error: BaseException
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        error = RuntimeError(f"{name}: {message}")
    elif issubclass(kind, Interrupted):
        error = kind(values["signum"], now=values["now"], reason=message)
    elif issubclass(kind, ProblemsError):
        error = kind(*values["problems"], more=values["more"])
    elif issubclass(kind, OSError) and "errno" in values:
        error = OSError(values["errno"], values["strerror"], values["filename"])
    elif issubclass(kind, ScopeBatchError | MemoryError | RuntimeError):
        error = kind(message)
    else:
        error = RuntimeError(f"{name}: {message}")
    for note in values["notes"]:
        error.add_note(note)
    return error
