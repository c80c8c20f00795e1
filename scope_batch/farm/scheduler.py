"""Gives jobs to workers on several devices, and moves a job on when its worker dies or its device fails."""

from __future__ import annotations

import queue
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from scope_batch.errors import (
    DeviceFaultError,
    Interrupted,
    NoDeviceError,
    ScopeBatchError,
    TemporaryError,
    TimeLimitError,
    UnavailableError,
)
from scope_batch.events import ChunkDone, Event
from scope_batch.farm.devices import Device
from scope_batch.farm.messages import Death, Inbox, Message, Ready, Result, Stop, Worker
from scope_batch.farm.waiting import Task, WaitingTasks
from scope_batch.jobs.child_process import MAX_LOST_WORKERS

OpenWorker = Callable[[Device, Inbox], Worker]
"""Opens a worker that tells the inbox. Raises OSError if there is no room for one."""
MAX_DEATHS_IN_A_ROW = 3
"""A device whose workers die so often in a row, without a chunk between, has failed."""


class Watch(Protocol):
    """Is told what happens to the tasks; called on the thread of `Scheduler.run`."""

    over: bool
    """No further task is to be started."""

    def started(self, task: Task, device: Device, worker: str, waiting_s: float) -> None:
        """`worker`: its name; `waiting_s`: forecast of the tasks that are not started, in seconds of one device."""
        ...

    def event(self, task: Task, event: Event) -> None: ...

    def lost(self, task: Task, reason: str, idle_s: float) -> None:
        """The worker died or the device failed; the task will be started again."""
        ...

    def ended(self, task: Task, error: BaseException | None, idle_s: float) -> None:
        """Also called for a task that no device was left for, without `started`."""
        ...

    def left_out(self, device: Device, reason: str) -> None:
        """The device gets no more tasks."""
        ...


@dataclass(slots=True)
class _Seat:
    """A device, its worker, and the task in work.

    is_ready  the worker takes orders. models: those that it has loaded.
    """

    device: Device
    worker: Worker | None = None
    is_ready: bool = False
    task: Task | None = None
    models: Hashable | None = None
    deaths: int = 0
    failed: bool = False


class Scheduler:
    """Renders tasks on devices. A context manager that ends all workers."""

    def __init__(self, devices: Sequence[Device], open_worker: OpenWorker) -> None:
        self._seats = [_Seat(device) for device in devices]
        self._open_worker = open_worker
        self._inbox: Inbox = queue.SimpleQueue()
        self._opened: list[Worker] = []
        self._waiting = WaitingTasks(())
        self._stop: Stop | None = None
        self._watch: Watch

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self._seats:
            if seat.worker is not None and seat.task is None:
                seat.worker.leave()
            elif seat.worker is not None:
                seat.worker.kill()
        for worker in self._opened:
            worker.join()

    def open(self, count: int) -> None:
        """Open the workers of the first `count` devices, so that they start while the caller prepares the tasks."""
        for seat in self._seats[:count]:
            self._ensure_worker(seat)

    def stop(self, error: Interrupted | TimeLimitError) -> None:
        """Let the tasks in work end with `error` after the chunk in flight, and start no more; from any thread."""
        self._inbox.put((None, Stop(error)))

    def run(self, tasks: Iterable[Task], watch: Watch) -> None:
        """Render all tasks. An `Interrupted` that a signal raises here ends those in work at once; a second one gets
        through, and the workers are killed."""
        self._watch = watch
        self._waiting = WaitingTasks(tasks)
        self._feed_all()
        while any(seat.task is not None for seat in self._seats) or self._is_waiting_for_a_worker:
            try:
                worker, message = self._inbox.get()
            except Interrupted as error:
                if self._stop is not None and self._stop.now:
                    raise
                worker, message = None, Stop(error, now=True)
            if isinstance(message, Stop):
                self._stop_all(message)
                continue
            seat = next((seat for seat in self._seats if seat.worker is worker), None)
            if seat is not None:
                self._take_message(seat, message)

    def _stop_all(self, stop: Stop) -> None:
        self._stop = stop
        if all(seat.task is None for seat in self._seats):
            raise stop.error  # no task can tell it
        for seat in self._seats:
            if seat.task is not None and seat.worker is not None:
                seat.worker.stop(stop)

    def _feed_all(self, last: str = "") -> None:
        """Give every free device a task, the device `last` after the others."""
        for seat in sorted(self._seats, key=lambda seat: seat.device.name == last):
            self._feed(seat)

    @property
    def _may_start(self) -> bool:
        return self._stop is None and not self._watch.over

    @property
    def _is_waiting_for_a_worker(self) -> bool:
        opening = any(seat.worker is not None and not seat.is_ready for seat in self._seats)
        return opening and self._may_start and bool(self._waiting)

    def _feed(self, seat: _Seat) -> None:
        """Give a free device its next task."""
        if seat.failed or seat.task is not None or not self._may_start or not self._waiting:
            return
        self._ensure_worker(seat)
        if seat.worker is None:
            self._cannot_open(seat, TemporaryError("no worker process can be started"))
            return
        if not seat.is_ready:
            return
        elsewhere = [other.models for other in self._seats if other is not seat and not other.failed]
        task = self._waiting.take(seat.device.name, seat.models, elsewhere)
        seat.task, seat.models = task, task.models
        self._watch.started(task, seat.device, seat.worker.name, self._waiting.expected_s)
        seat.worker.start(task.order)

    def _cannot_open(self, seat: _Seat, error: ScopeBatchError) -> None:
        seat.failed = True
        self._watch.left_out(seat.device, str(error))
        if all(other.failed for other in self._seats):
            for task in self._waiting.take_all():
                self._watch.ended(task, error, 0.0)

    def _ensure_worker(self, seat: _Seat) -> None:
        if seat.worker is None:
            try:
                seat.worker = self._open_worker(seat.device, self._inbox)
            except OSError:
                return
            seat.is_ready = seat.worker.starts_ready
            self._opened.append(seat.worker)

    def _take_message(self, seat: _Seat, message: Message) -> None:
        if isinstance(message, Ready):
            seat.device, seat.is_ready = replace(seat.device, host=message.host), True
            self._feed_all()
        elif isinstance(message, Death):
            seat.worker = seat.models = None
            if seat.task is not None:
                seat.deaths += 1
                self._lose(seat, message.reason, 0.0)
            elif not seat.is_ready:
                seat.deaths += 1
                if seat.deaths < MAX_DEATHS_IN_A_ROW:
                    self._feed(seat)
                else:
                    self._cannot_open(seat, UnavailableError(message.reason))
        elif isinstance(message, Result):
            seat.deaths = 0
            self._take_result(seat, message)
        elif seat.task is not None:
            if isinstance(message, ChunkDone):
                seat.deaths = 0
                if message.chunk > seat.task.furthest:
                    seat.task.furthest, seat.task.lost = message.chunk, 0
            self._watch.event(seat.task, message)

    def _take_result(self, seat: _Seat, result: Result) -> None:
        error = result.error
        if error is not None and result.traceback:
            error.__cause__ = RemoteTraceback(result.traceback)
        if isinstance(error, DeviceFaultError):
            seat.worker = seat.models = None  # it leaves by itself
            self._lose(seat, str(error), result.idle_s, failed=True)
        elif isinstance(error, NoDeviceError) and self._another_than(seat):
            self._lose(seat, str(error), result.idle_s, failed=True, counts=False)
        else:
            task = self._release(seat)
            self._watch.ended(task, error, result.idle_s)
            self._feed_all()

    def _lose(self, seat: _Seat, reason: str, idle_s: float, *, failed: bool = False, counts: bool = True) -> None:
        """Let a task go on elsewhere from its last state, unless that happens too often or all are being stopped.

        failed  the device has failed, not only its worker; counts: as one of the workers that a task may lose.
        """
        task = self._release(seat)
        task.lost += counts
        task.lost_on = seat.device.name
        goes_on = self._may_start and task.lost < MAX_LOST_WORKERS
        if goes_on:
            self._watch.lost(task, reason, idle_s)
        elif self._stop is not None:
            self._watch.ended(task, self._stop.error, idle_s)
        elif task.lost < MAX_LOST_WORKERS:
            self._watch.ended(task, TemporaryError(reason), idle_s)
        else:
            error = TemporaryError(f"given up after {task.lost} attempts; the last: {reason}")
            self._watch.ended(task, error, idle_s)
        if (failed or seat.deaths >= MAX_DEATHS_IN_A_ROW) and self._another_than(seat):
            self._leave_out(seat, reason)
        if goes_on:
            options = task.order.options
            if options.resume is None and options.checkpoint_every != 0:
                # On another device, too, and beside --overwrite.
                task.order = replace(task.order, options=replace(options, resume=True))
            self._waiting.put_back(task)
        self._feed_all(last=task.lost_on)

    def _another_than(self, seat: _Seat) -> bool:
        """Return whether another device is left. The last one is kept, whatever happens on it."""
        return any(not other.failed for other in self._seats if other is not seat)

    def _leave_out(self, seat: _Seat, reason: str) -> None:
        """Give the device no more tasks."""
        seat.failed = True
        self._watch.left_out(seat.device, reason)
        if seat.worker is not None:
            seat.worker.leave()
            seat.worker = None

    @staticmethod
    def _release(seat: _Seat) -> Task:
        task, seat.task = seat.task, None
        assert task is not None, "a worker tells results of tasks in work only"
        return task


class RemoteTraceback(Exception):
    """Shows the traceback of a worker's error as the cause of the error here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'
