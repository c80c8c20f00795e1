"""Renders orders in a process of its own, one at a time, with an engine that stays loaded.

The pipe carries pickled messages: both ends are this program, and nobody else can reach them.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

from scope_batch.core.engine import Engine, EngineRequest
from scope_batch.errors import DeviceFaultError, Interrupted, TimeLimitError
from scope_batch.events import Event, Finished, Report, Started
from scope_batch.farm.devices import Device
from scope_batch.farm.messages import Order, Result, Stop
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import DEFAULT_OPTIONS

EXIT_ORPHANED = 1
"""Exit status of a worker whose scheduler has gone."""
THREAD_VARIABLES = ("OMP_NUMTHREAD_VARIABLES", "MKL_NUMTHREAD_VARIABLES")


def work(connection: Connection, device: Device, prepare: Callable[[], None]) -> None:
    """Render what comes through the pipe until None comes; the target of the process.

    prepare  called before anything is imported that a render needs.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group of processes; the scheduler decides
    if device.cpu_threads is not None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(device.cpu_threads)))
    prepare()
    DeviceWorker(connection, device).run()


class DeviceWorker:
    """Renders on the main thread; another thread reads the pipe, and ends the process when the scheduler has gone."""

    def __init__(self, connection: Connection, device: Device) -> None:
        self._connection, self._device = connection, device
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._stop: Stop | None = None
        self._rendering = False
        self._in_chunks = False
        """Between the first chunk and the end, when an immediate stop would lose frames."""
        self._engines = _WideEngines()

    def run(self) -> None:
        signal.signal(signal.SIGUSR1, self._interrupt)
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        idle_s, free_since_s = 0.0, None
        while (order := self._orders.get()) is not None:
            if free_since_s is not None:
                idle_s = time.monotonic() - free_since_s
            error, text = self._attempt(order)
            self._send(Result(error, text, idle_s))
            if isinstance(error, DeviceFaultError):
                return  # the device may be in no good state for this process
            free_since_s = time.monotonic()

    def check(self) -> None:
        """Raise the error with which the render is to end, if there is one; makes this object a `render.Stop`."""
        if self._stop is not None:
            raise self._stop.error

    def _attempt(self, order: Order) -> tuple[BaseException | None, str]:
        try:
            try:
                self._rendering = True
                self._render(order)
            finally:
                self._rendering = self._in_chunks = False
        except Exception as error:  # noqa: BLE001  (a fault of one job must not end the others)
            text = traceback.format_exc()
            return _portable(error), text
        return None, ""

    def _render(self, order: Order) -> None:
        self.check()
        job, options = order.job, order.options
        device = self._device.option if KNOWN_PIPELINES.get(job.pipeline_id).needs_models else DEFAULT_OPTIONS.device
        self._engines.widest = order
        render_job(job, order.stem, replace(options, device=device), self._report, self, self._engines)

    def _report(self, event: Event) -> None:
        if isinstance(event, Started):
            self._in_chunks = True
        elif isinstance(event, Finished):  # the outputs are there, or the render ends by itself: too late to interrupt
            self._rendering = self._in_chunks = False
        self._send(event)

    def _listen(self) -> None:
        try:
            while True:
                message = pickle.loads(self._connection.recv_bytes())
                if isinstance(message, Stop):
                    self._stop = message
                    if message.now or not self._in_chunks:
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                else:
                    self._orders.put(message)
        except (EOFError, OSError):
            os._exit(EXIT_ORPHANED)  # nothing may hold the device now

    def _interrupt(self, *_: object) -> None:
        """End the render at once, on the main thread; between two jobs there is nothing to end."""
        if not self._rendering or self._stop is None:
            return
        error = self._stop.error
        raise error if isinstance(error, TimeLimitError) else Interrupted(error.signum, now=True)

    def _send(self, message: Event | Result) -> None:
        try:
            with self._sending:
                self._connection.send_bytes(pickle.dumps(message))
        except OSError:
            os._exit(EXIT_ORPHANED)


class _WideEngines(Engines):
    """Loads an engine that also serves the later jobs of the same models."""

    widest: Order

    def get(self, request: EngineRequest, report: Report) -> Engine:
        expected_bytes = max(request.expected_bytes, self.widest.expected_bytes)
        return super().get(
            replace(request, vace=request.vace or self.widest.vace, expected_bytes=expected_bytes), report
        )


def _portable(error: BaseException) -> BaseException:
    """Return the error if the other process can read it without importing anything more, else one of its text."""
    module = type(error).__module__
    if module == "builtins" or module.startswith("scope_batch."):
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001  (whatever an error's own pickling raises)
            pass
        else:
            return error
    return RuntimeError(f"{type(error).__name__}: {error}")
