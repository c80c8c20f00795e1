"""Fake workers for a scheduler: a script says what each order leads to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scope_batch.errors import Interrupted
from scope_batch.events import ChunkDone, Event
from scope_batch.farm.devices import Device
from scope_batch.farm.messages import Death, Inbox, Message, Order, Result, Stop
from scope_batch.farm.scheduler import Scheduler
from scope_batch.farm.waiting import Task
from scope_batch.job import parse_job
from scope_batch.render.options import DEFAULT_OPTIONS

JOB = parse_job({"pipeline_id": "slate", "prompt": "a cat", "num_frames": 9})
CHUNK = ChunkDone(0, 2, 9, 9, 18, 1.0, 1.0, 9.0, 1.0, "a cat")
DONE, KILLED = Result(), Death("the worker process was killed by SIGKILL")
Script = Callable[[str, Task], Sequence[Message] | None]
"""What a worker on a device tells about a task. None: nothing, until it is stopped."""


def task(number: int, models: str = "m", expected_s: float = 1.0, **options: Any) -> Task:
    from dataclasses import replace

    return Task(number, Order(JOB, str(number), replace(DEFAULT_OPTIONS, **options)), models, expected_s)


@dataclass
class Farm:
    """Runs a scheduler with fake workers, and notes what it tells its watch."""

    script: Script = lambda _device, _task: [DONE]
    devices: Sequence[str] = ("a", "b")
    over: bool = False
    starts: list[tuple[str, int]] = field(default_factory=list)
    """(device, number of the task), in order."""
    hosts: set[str] = field(default_factory=set)
    ends: dict[int, BaseException | None] = field(default_factory=dict)
    losses: list[int] = field(default_factory=list)
    out: dict[str, str] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    events: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))

    def run(self, *tasks: Task) -> Farm:
        self.tasks = {one.order.stem: one for one in tasks}
        with Scheduler([Device(name, name) for name in self.devices], self.open) as self.scheduler:
            self.scheduler.run(tasks, self)
        return self

    def open(self, device: Device, inbox: Inbox) -> FakeWorker:
        self.opened.append(device.name)
        return FakeWorker(self, device.name, inbox)

    def started(self, task: Task, device: Device, worker: str, waiting_s: float) -> None:  # noqa: ARG002
        self.starts.append((device.name, task.number))
        self.hosts.add(device.host)

    def event(self, task: Task, event: Event) -> None:
        self.events[task.number].append(event)

    def lost(self, task: Task, reason: str, idle_s: float) -> None:  # noqa: ARG002
        self.losses.append(task.number)

    def ended(self, task: Task, error: BaseException | None, idle_s: float) -> None:  # noqa: ARG002
        assert task.number not in self.ends, "a task ends once"
        self.ends[task.number] = error

    def left_out(self, device: Device, reason: str) -> None:
        self.out[device.name] = reason


@dataclass(eq=False)
class FakeWorker:
    farm: Farm
    device: str
    inbox: Inbox
    name: str = "fake"
    starts_ready: bool = True

    def start(self, order: Order) -> None:
        for message in self.farm.script(self.device, self.farm.tasks[order.stem]) or ():
            self.inbox.put((self, message))

    def stop(self, stop: Stop) -> None:
        error = stop.error
        self.inbox.put(
            (self, Result(Interrupted(error.signum, now=stop.now) if isinstance(error, Interrupted) else error))
        )

    def leave(self) -> None:
        self.farm.gone.append(self.device)

    kill = leave

    def join(self) -> None:
        pass
