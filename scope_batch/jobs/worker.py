"""Renders jobs in a process of its own, one at a time, with an engine that stays loaded.

Both sides of the one pipe send JSON. The supervisor sends "load", "render", "cancel" and "drain"; the worker sends the
events of what it does and, at its end, a `Result`.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import threading
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from scope_batch.errors import EXIT_BUG, Interrupted, ScopeBatchError, TemporaryError, UnavailableError
from scope_batch.events import Event, Finished, Loading
from scope_batch.job import Job, parse_job
from scope_batch.jobs.records import WORK, JobSettings
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.render.engine_pool import Engines, request_of
from scope_batch.render.loop import render_job
from scope_batch.render.options import DEFAULT_OPTIONS, RenderOptions
from scope_batch.render.prepare import prepare_job

EXIT_ORPHANED = 1
"""Exit status of a worker whose supervisor has gone."""

NICENESS = 5
"""How far a worker gives way to the server, whose answers would wait for a core that a render has taken."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one attempt at a job ended; `outputs` are the finished files, or partial ones that are valid.

    retry    another attempt may succeed: a device fault, a killed encoder.
    leaving  the worker exits, since its device may be in no good state.
    """

    outcome: Literal["done", "cancelled", "interrupted", "failed"]
    outputs: tuple[str, ...] = ()
    error: str = ""
    exit_code: int = 0
    retry: bool = False
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A job to render. folder: where its outputs and stored chunks are."""

    job: str
    request: str
    folder: str
    settings: JobSettings


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """An engine to load: the one that renders the job `request`, and, if `vace`, also jobs that use VACE."""

    request: str
    vace: bool


def work(connection: Connection, options: RenderOptions) -> None:
    """Render what comes through the pipe until it is closed or the supervisor drains; the target of the process.

    options  device, dtype and the like, the same for every job.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group of processes; the supervisor decides
    os.nice(NICENESS)
    Worker(connection, options).run()


class Worker:
    """Renders on the main thread; another thread reads the pipe, and ends the process when the supervisor has gone."""

    def __init__(self, connection: Connection, options: RenderOptions) -> None:
        self._connection, self._options = connection, options
        self._sending = threading.Lock()
        self._orders: queue.SimpleQueue[Order | LoadOrder | None] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._draining = False
        self._outputs: tuple[str, ...] = ()
        """Files of the job in work, once it has ended: finished ones, or valid partial ones."""
        self._engines = Engines()

    def run(self) -> None:
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        leaving = False
        while not leaving and (order := self._orders.get()) is not None:
            result = self._result_of(order)
            self._send({"result": asdict(result)})
            leaving = result.leaving

    def _result_of(self, order: Order | LoadOrder) -> Result:
        self._outputs = ()
        try:
            return self._render(order) if isinstance(order, Order) else self._load(order)
        except ScopeBatchError as error:
            unhealthy = isinstance(error, TemporaryError | UnavailableError)
            retry = isinstance(error, TemporaryError)
            return Result("failed", self._outputs, str(error), error.exit_code, retry=retry, leaving=unhealthy)
        except Exception as error:  # a fault of one job must not end the others
            logging.getLogger(__name__).error("%s", getattr(order, "job", "load"), exc_info=error)
            return Result("failed", self._outputs, f"internal error: {type(error).__name__}", EXIT_BUG, leaving=True)

    def _listen(self) -> None:
        try:
            while True:
                message = json.loads(self._connection.recv_bytes())
                if message["do"] == "render":
                    settings = message.pop("settings")
                    del message["do"]
                    outputs = tuple(settings.pop("outputs"))
                    self._orders.put(Order(**message, settings=JobSettings(outputs, **settings)))
                elif message["do"] == "load":
                    self._orders.put(LoadOrder(message["request"], message["vace"]))
                elif message["do"] == "cancel":
                    self._cancelled.add(message["job"])
                else:
                    self._draining = True
                    self._orders.put(None)
        except (EOFError, OSError):
            os._exit(EXIT_ORPHANED)  # nothing may hold the device now; the next server goes on from the stored chunks

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with self._sending:
                self._connection.send_bytes(json.dumps(message).encode())
        except OSError:
            os._exit(EXIT_ORPHANED)

    def _render(self, order: Order) -> Result:
        stop = _Stop(self, order.job)

        def report(event: Event) -> None:
            if isinstance(event, Finished):
                self._outputs = tuple(output.path for output in event.outputs)
            else:
                self._send({"event": event.to_json()})
            if isinstance(event, Loading):
                stop.check()

        folder = Path(order.folder)
        try:
            stop.check()
            job = parse_job(json.loads(order.request))
            options = _with_settings(self._options_for(job), folder, order.settings)
            render_job(job, "job", options, report, stop, self._engines)
        except Interrupted as error:
            if order.job not in self._cancelled:
                return Result("interrupted", error=str(error))
            return Result("cancelled", self._outputs)
        return Result("done", tuple(str(folder / name) for name in order.settings.outputs))

    def _load(self, order: LoadOrder) -> Result:
        def report(event: Event) -> None:
            self._send({"event": event.to_json()})
            if isinstance(event, Loading):
                self.check("")

        job = parse_job(json.loads(order.request))
        request = request_of(job, prepare_job(job), self._options_for(job))
        wanted = replace(request, vace=request.vace or (order.vace and request.spec.vace))
        self._engines.get(wanted, report)
        return Result("done")

    def _options_for(self, job: Job) -> RenderOptions:
        return self._options if KNOWN_PIPELINES.get(job.pipeline_id).needs_models else DEFAULT_OPTIONS

    def check(self, job: str) -> None:
        """Raise Interrupted if the job is cancelled or the supervisor drains. job: "" for a load."""
        if job in self._cancelled:
            raise Interrupted(signal.SIGINT, reason="cancelled")
        if self._draining:
            raise Interrupted(signal.SIGTERM, reason="the server is shutting down")


@dataclass(frozen=True, slots=True)
class _Stop:
    """The `Stop` of one job."""

    worker: Worker
    job: str

    def check(self) -> None:
        self.worker.check(self.job)


def _with_settings(options: RenderOptions, folder: Path, settings: JobSettings) -> RenderOptions:
    return replace(
        options,
        outputs=tuple(str(folder / name) for name in settings.outputs),
        preview=None if settings.preview is None else folder / settings.preview,
        checkpoint_every=settings.checkpoint_every,
        resume=True,
        work_dir=folder / WORK,
    )
