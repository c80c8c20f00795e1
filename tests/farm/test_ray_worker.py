"""A worker in an actor tells what a local one does, and only texts go between it and the scheduler."""

from __future__ import annotations

import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

import scope_batch.farm.ray_actor as ray_actor
from scope_batch.errors import Interrupted, JobError
from scope_batch.farm.devices import Device
from scope_batch.farm.messages import Death, Inbox, Message, Order, Ready, Result, Stop
from scope_batch.farm.ray_worker import RayWorker
from scope_batch.render.options import DEFAULT_OPTIONS
from tests.farm.fakes import CHUNK, JOB, KILLED

DEVICE = Device("ray 1/2", "cuda")
ORDER = Order(JOB, "job", DEFAULT_OPTIONS)


class RayError(Exception):
    actor_init_failed = False


class FakeProcess:
    """Stands in for the worker process of an actor: answers what `answers` says."""

    answers: ClassVar[list[Message]] = []

    def __init__(self, device: Device, inbox: Inbox, prepare: Callable[[], None]) -> None:  # noqa: ARG002
        self.inbox, self.name = inbox, "process 7"

    def start(self, order: Order) -> None:
        assert order == ORDER
        for message in self.answers:
            self.inbox.put((None, message))

    def stop(self, stop: Stop) -> None:
        self.inbox.put((None, Result(stop.error)))

    def leave(self) -> None:
        self.inbox.put((None, Death("the worker process ended with status 0")))


class FakeRay:
    """An actor is an object of this process, its calls run on threads, and their arguments and results are texts."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.killed = threading.Event()
        self.lost: Exception | None = None
        self._threads = ThreadPoolExecutor(4)

    def remote(self, kind: type) -> Any:
        def create(settings: str) -> Any:
            assert type(settings) is str
            actor = kind(settings)
            return SimpleNamespace(**{name: SimpleNamespace(remote=self._call(getattr(actor, name)))
                                      for name in ("take", "start", "stop", "leave")})  # fmt: skip

        return SimpleNamespace(options=lambda **options: self.options.update(options) or SimpleNamespace(remote=create))

    def _call(self, method: Callable[..., Any]) -> Callable[..., Future[Any]]:
        def call(*arguments: str) -> Future[Any]:
            assert all(type(argument) is str for argument in arguments)
            return self._threads.submit(method, *arguments)

        return call

    def get(self, future: Future[Any]) -> Any:
        while not self.killed.wait(0.01):
            if future.done():
                assert all(type(text) is str for text in future.result())
                return future.result()
        raise self.lost or RayError("The actor is dead because it was killed by `ray.kill`.")

    def kill(self, _: Any) -> None:
        self.killed.set()


class Opened:
    """A worker with a fake Ray, and what it has told."""

    def __init__(self, device: Device = DEVICE) -> None:
        self.ray, self.inbox = FakeRay(), Inbox()
        self.worker = RayWorker(self.ray, device, self.inbox, {})

    def next(self) -> Message | Stop:
        worker, message = self.inbox.get(timeout=60)
        assert worker is self.worker
        return message


@pytest.fixture(autouse=True)
def _process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray_actor, "LocalWorker", FakeProcess)
    monkeypatch.setattr(FakeProcess, "answers", [CHUNK, Result(None, "", 0.5)])
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.chdir(tmp_path)


def test_it_is_ready_then_renders_then_leaves() -> None:
    opened = Opened()
    assert not opened.worker.starts_ready and opened.next() == Ready(socket.gethostname(), "process 7")
    assert opened.worker.name == f"process 7 on {socket.gethostname()}"
    opened.worker.start(ORDER)
    assert [opened.next(), opened.next()] == [CHUNK, Result(None, "", 0.5)]
    opened.worker.leave()
    opened.worker.join()
    assert isinstance(opened.next(), Death) and opened.ray.killed.is_set()


@pytest.mark.parametrize(
    ("device", "resources"),
    [(Device("ray 1/2", "cuda"), {"num_gpus": 1, "num_cpus": 0}), (Device("ray 1/2", "cpu", 4), {"num_cpus": 4})],
)
def test_it_asks_for_its_share_and_is_never_restarted_by_ray(device: Device, resources: dict[str, int]) -> None:
    options = Opened(device).ray.options
    assert options.items() >= (resources | {"max_restarts": 0, "max_task_retries": 0}).items()


def test_a_stop_reaches_the_render() -> None:
    opened = Opened()
    opened.next()
    opened.worker.stop(Stop(Interrupted(signal.SIGTERM)))
    result = opened.next()
    assert isinstance(result, Result) and isinstance(result.error, Interrupted)


def test_a_killed_worker_process_is_the_death_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeProcess, "answers", [CHUNK, KILLED])
    opened = Opened()
    opened.next()
    opened.worker.start(ORDER)
    assert [opened.next(), opened.next()] == [CHUNK, KILLED] and opened.ray.killed.is_set()


LOST = """The actor died unexpectedly before finishing this task.
\tclass_name: RenderActor
\tip: 10.0.0.7
The actor is dead because its node has died. Node Id: 123
\tthe actor's node was terminated"""


def test_a_lost_node_is_the_death_of_the_worker_and_named() -> None:
    opened = Opened()
    opened.next()
    opened.ray.lost = RayError(LOST)
    opened.ray.killed.set()
    assert opened.next() == Death("the worker on 10.0.0.7 was lost: its node has died")


def test_a_node_without_the_program_is_told_in_one_line() -> None:
    opened = Opened()
    opened.next()
    opened.ray.lost = RayError("Traceback\n\nModuleNotFoundError: No module named 'scope_batch'\n")
    opened.ray.lost.actor_init_failed = True  # type: ignore[attr-defined]
    opened.ray.killed.set()
    message = opened.next()
    assert isinstance(message, Death) and message.reason.endswith("ModuleNotFoundError: No module named 'scope_batch'")


def test_a_node_with_another_version_renders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_actor, "__version__", "0.0.1")
    message = Opened().next()
    assert isinstance(message, Death) and "scope-batch 0.0.1" in message.reason


def test_a_node_without_the_shared_folder_renders_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getcwd", lambda: str(tmp_path / "gone"))
    message = Opened().next()
    assert isinstance(message, Death) and "gone" in message.reason


def test_an_order_that_the_node_cannot_read_ends_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> Order:
        raise JobError("job: unknown field")

    monkeypatch.setattr(ray_actor, "order_from_text", refuse)
    opened = Opened()
    opened.next()
    opened.worker.start(ORDER)
    result = opened.next()
    assert isinstance(result, Result) and isinstance(result.error, JobError)


def test_a_worker_without_a_place_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_actor.RenderActor, "take", lambda _: queue.Queue[list[str]]().get(timeout=0.2))
    opened = Opened()
    opened.worker.leave()
    opened.worker.join()
    assert opened.ray.killed.is_set()
