"""Every task ends exactly once, whatever happens to workers and devices, and devices keep to what they have loaded."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from scope_batch.errors import (
    DeviceFaultError,
    Interrupted,
    JobError,
    NoDeviceError,
    TemporaryError,
    TimeLimitError,
    UnavailableError,
)
from scope_batch.farm.devices import Device
from scope_batch.farm.messages import Death, Inbox, Message, Ready, Result
from scope_batch.farm.waiting import Task
from tests.farm.fakes import CHUNK, DONE, KILLED, FakeWorker, Farm, task


def at_first(*messages: Message, device: str | None = None) -> Callable[[str, Task], Sequence[Message]]:
    """The first attempt at each task (on a device) leads to `messages`, any other one to its end."""
    seen = Counter[int]()

    def script(name: str, one: Task) -> Sequence[Message]:
        seen[one.number] += 1
        return messages if seen[one.number] == 1 and device in (None, name) else [DONE]

    return script


def test_every_task_is_rendered_once_on_some_device() -> None:
    farm = Farm().run(*map(task, range(7)))
    assert farm.ends == dict.fromkeys(range(7)) and len(farm.starts) == 7
    assert {device for device, _ in farm.starts} == {"a", "b"} and sorted(farm.opened) == sorted(farm.gone) == [
        "a",
        "b",
    ]


def test_the_longest_task_comes_first() -> None:
    farm = Farm(devices="a").run(task(0, expected_s=1), task(1, expected_s=3), task(2, expected_s=2))
    assert [number for _, number in farm.starts] == [1, 2, 0]


def test_a_device_keeps_to_the_models_that_it_has_loaded() -> None:
    farm = Farm().run(*(task(number, "xy"[number % 2], expected_s=number + 1) for number in range(10)))
    kinds = {device: {number % 2 for name, number in farm.starts if name == device} for device in "ab"}
    assert sorted(map(len, kinds.values())) == [1, 1] and kinds["a"] != kinds["b"]


def test_a_device_without_work_for_its_models_loads_those_with_the_most_work() -> None:
    tasks = [task(0, "x", 9), task(1, "y", 8), *(task(number, "y", 5) for number in (2, 3, 4)), task(5, "z", 10)]
    farm = Farm(devices="a").run(*tasks)
    assert [number for _, number in farm.starts] == [1, 2, 3, 4, 5, 0]


def test_events_reach_the_watch() -> None:
    assert Farm(lambda *_: [CHUNK, DONE]).run(task(0)).events[0] == [CHUNK]


def test_a_task_whose_worker_is_killed_goes_on_from_its_last_state() -> None:
    farm = Farm(at_first(CHUNK, KILLED)).run(task(0), task(1))
    assert farm.ends == {0: None, 1: None} and sorted(farm.losses) == [0, 1]
    assert all(one.order.options.resume is True for one in farm.tasks.values()) and farm.out == {}


@pytest.mark.parametrize("options", [{"resume": False}, {"checkpoint_every": 0}])
def test_a_render_that_stores_nothing_begins_anew_after_a_loss(options: dict[str, Any]) -> None:
    one = task(0, **options)
    assert Farm(at_first(KILLED)).run(one).ends == {0: None}
    assert one.order.options.resume is options.get("resume")


def test_a_task_that_kills_its_worker_three_times_is_given_up_with_its_reason() -> None:
    farm = Farm(lambda _, one: [CHUNK, KILLED] if one.number == 1 else [DONE]).run(*map(task, range(4)))
    error = farm.ends.pop(1)
    assert isinstance(error, TemporaryError) and "given up after 3" in str(error) and "SIGKILL" in str(error)
    assert farm.ends == dict.fromkeys((0, 2, 3)) and farm.losses == [1, 1]


def test_a_task_that_gets_further_with_every_worker_is_not_given_up() -> None:
    chunks = iter(range(6))

    def script(*_: object) -> Sequence[Message]:
        chunk = next(chunks)
        return [replace(CHUNK, chunk=chunk), KILLED if chunk < 5 else DONE]

    farm = Farm(script).run(task(0))
    assert farm.ends == {0: None} and len(farm.losses) == 5


def test_a_device_whose_workers_die_in_a_row_without_a_chunk_is_left_out() -> None:
    farm = Farm(lambda device, _: [KILLED] if device == "a" else [DONE]).run(*map(task, range(20)))
    assert farm.ends == dict.fromkeys(range(20)) and list(farm.out) == ["a"] and len(farm.losses) == 3


def test_a_lost_task_goes_to_another_device_if_that_is_free() -> None:
    farm = Farm(at_first(CHUNK, KILLED, device="a")).run(task(0))
    assert farm.starts == [("a", 0), ("b", 0)]


def test_a_device_that_fails_is_left_out_and_its_task_goes_on_elsewhere() -> None:
    fault = Result(DeviceFaultError("chunk 3: the device failed"))
    farm = Farm(lambda device, _: [CHUNK, fault] if device == "a" else [DONE]).run(*map(task, range(6)))
    assert farm.ends == dict.fromkeys(range(6)) and list(farm.out) == ["a"] and len(farm.losses) == 1
    assert [device for device, _ in farm.starts].count("a") == 1


def test_a_device_that_is_not_there_is_left_out() -> None:
    missing = Result(NoDeviceError("cuda:7: no"))
    farm = Farm(lambda device, _: [missing] if device == "a" else [DONE]).run(*map(task, range(3)))
    assert farm.ends == dict.fromkeys(range(3)) and farm.out == {"a": "cuda:7: no"}


def test_without_any_device_every_task_has_its_error() -> None:
    farm = Farm(lambda device, _: [Result(NoDeviceError(device))]).run(*map(task, range(3)))
    assert len(farm.out) == 1 and [str(error) for error in farm.ends.values()] == ["b", "b", "b"]


def test_the_last_device_gets_another_worker_after_a_fault() -> None:
    farm = Farm(at_first(Result(DeviceFaultError("once"))), devices="a").run(task(0), task(1))
    assert farm.ends == {0: None, 1: None} and farm.out == {} and farm.opened == ["a"] * 3


def test_an_error_of_a_job_is_its_own() -> None:
    bad = JobError("bad")
    farm = Farm(lambda _, one: [Result(bad, "Traceback ...")] if one.number == 0 else [DONE]).run(task(0), task(1))
    assert farm.ends == {0: bad, 1: None} and farm.losses == [] and "Traceback" in str(bad.__cause__)


def test_no_task_is_started_once_the_watch_says_so() -> None:
    farm = Farm(devices="a", over=True)
    assert farm.run(task(0)).starts == []


@pytest.mark.parametrize("error", [Interrupted(signal.SIGTERM), TimeLimitError("over")])
def test_a_stop_ends_what_is_in_work_and_starts_nothing_more(error: Interrupted | TimeLimitError) -> None:
    farm = Farm()
    farm.script = lambda *_: farm.scheduler.stop(error)
    farm.run(*map(task, range(5)))
    assert [type(ended) for ended in farm.ends.values()] == [type(error)] * 2 and len(farm.starts) == 2


def test_a_worker_that_dies_while_all_stop_is_not_replaced() -> None:
    def script(*_: object) -> Sequence[Message]:
        farm.scheduler.stop(Interrupted(signal.SIGTERM))
        return [KILLED]

    farm = Farm(script, devices="a")
    farm.run(task(0), task(1))
    (error,) = farm.ends.values()
    assert isinstance(error, Interrupted) and farm.opened == ["a"]


def test_a_system_without_room_for_a_process_ends_the_tasks_with_75() -> None:
    farm = Farm()
    farm.open = lambda *_: (_ for _ in ()).throw(OSError())  # type: ignore[method-assign]
    assert [type(error) for error in farm.run(*map(task, range(300))).ends.values()] == [TemporaryError] * 300
    assert list(farm.out) == ["a", "b"]


def test_tasks_wait_for_workers_that_have_no_place_yet_and_others_go_on() -> None:
    farm = Farm()

    def open_later(device: Device, inbox: Inbox) -> FakeWorker:
        worker = FakeWorker(farm, device.name, inbox, starts_ready=False)
        if device.name == "b":
            inbox.put((worker, Ready("node", "process 7")))
        return worker

    farm.open = open_later  # type: ignore[method-assign]
    assert farm.run(task(0), task(1)).ends == {0: None, 1: None}
    assert farm.starts == [("b", 0), ("b", 1)] and farm.hosts == {"node"} and sorted(farm.gone) == ["a", "b"]


def test_a_worker_that_dies_three_times_before_it_is_ready_is_not_opened_again() -> None:
    farm = Farm(devices="a")

    def open_in_vain(device: Device, inbox: Inbox) -> FakeWorker:
        worker = FakeWorker(farm, device.name, inbox, starts_ready=False)
        farm.opened.append(device.name)
        inbox.put((worker, Death("no folder")))
        return worker

    farm.open = open_in_vain  # type: ignore[method-assign]
    farm.run(task(0), task(1))
    assert [(type(error), str(error)) for error in farm.ends.values()] == [(UnavailableError, "no folder")] * 2
    assert farm.opened == ["a"] * 3 and farm.out == {"a": "no folder"}


def test_a_stop_while_no_worker_has_a_place_is_raised() -> None:
    farm = Farm(devices="a")

    def open_later(device: Device, inbox: Inbox) -> FakeWorker:
        farm.scheduler.stop(Interrupted(signal.SIGTERM))
        return FakeWorker(farm, device.name, inbox, starts_ready=False)

    farm.open = open_later  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        farm.run(task(0))
    assert farm.starts == [] and farm.gone == ["a"]
