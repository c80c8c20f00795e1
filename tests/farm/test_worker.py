"""A worker renders order after order, tells what happens, and ends a render when it is told to."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scope_batch.core.engine import EngineRequest
from scope_batch.errors import DeviceFaultError, Interrupted, JobError, TimeLimitError
from scope_batch.events import Event, Finished, Started, Warned
from scope_batch.farm import worker as module
from scope_batch.farm.devices import Device
from scope_batch.farm.messages import Order, Result, Stop
from scope_batch.job import parse_job
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.render.engine_pool import Engines
from scope_batch.render.options import RenderOptions

STARTED = Started("slate", 1, 9, 16.0, 64, 64, ("a.npy",), 0.1)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Runs a worker in this thread, with `render` for its renders. Returns what it tells until all orders are done."""
    monkeypatch.setattr(module, "os", SimpleNamespace(_exit=lambda _: None))  # when the pipe is closed here

    def run(
        orders: int, render: Callable[..., None], answer: Callable[[Any], Stop | None] = lambda _: None
    ) -> list[Any]:
        monkeypatch.setattr(module, "render_job", render)
        ours, theirs = Pipe()
        told: list[Any] = []

        def drive() -> None:
            for _ in range(orders):
                ours.send_bytes(pickle.dumps(order()))
            while not told or sum(isinstance(message, Result) for message in told) < orders:
                told.append(pickle.loads(ours.recv_bytes()))
                if (stop := answer(told[-1])) is not None:
                    ours.send_bytes(pickle.dumps(stop))
            ours.send_bytes(pickle.dumps(None))

        with restored(signal.SIGUSR1):
            driver = threading.Thread(target=drive)
            driver.start()
            module.DeviceWorker(theirs, Device("cuda:1", "cuda:1")).run()
            driver.join()
        ours.close()
        for thread in threading.enumerate():
            if thread.name == "orders":  # which ends the process, once this fixture is over
                thread.join()
        return told

    return run


@contextmanager
def restored(number: signal.Signals) -> Iterator[None]:
    before = signal.getsignal(number)
    yield
    signal.signal(number, before)


def order(**fields: Any) -> Order:
    job = parse_job({"pipeline_id": "longlive", "prompt": "a cat", "num_frames": 9} | fields)
    return Order(job, "a", RenderOptions(device="cuda:0"))


def wait(report: Callable[[Event], None], *events: Event) -> None:
    """Report the events, then wait to be interrupted."""
    for event in events:
        report(event)
    time.sleep(60)
    pytest.fail("nothing ended the render")


def test_events_come_before_the_result_and_the_wait_between_two_orders_is_told(work) -> None:
    told = work(2, lambda _job, stem, _options, report, *_: report(Warned(stem)))
    assert [type(message) for message in told] == [Warned, Result, Warned, Result]
    assert told[1] == Result() and told[3].idle_s > 0


def test_a_job_is_rendered_on_the_device_of_the_worker(work) -> None:
    seen: list[str] = []
    work(1, lambda _job, _stem, options, *_: seen.append(options.device))
    assert seen == ["cuda:1"]


@pytest.mark.parametrize("error", [JobError("a", "b"), OSError(28, "No space left on device", "a.npy"), MemoryError()])
def test_an_error_of_a_job_arrives_as_it_is(work, error: Exception) -> None:
    def render(*_: object) -> None:
        raise error

    (result,) = work(1, render)
    assert type(result.error) is type(error) and str(result.error) == str(error) and "Traceback" in result.traceback
    assert getattr(result.error, "problems", ()) == getattr(error, "problems", ())


def test_an_error_that_the_scheduler_cannot_read_arrives_as_its_text(work) -> None:
    class OddError(Exception):
        pass

    def render(*_: object) -> None:
        raise OddError("odd")

    (result,) = work(1, render)
    assert type(result.error) is RuntimeError and str(result.error) == "OddError: odd"


def test_the_worker_of_a_device_that_failed_leaves(work) -> None:
    def render(*_: object) -> None:
        raise DeviceFaultError("chunk 1: the device failed")

    (result,) = work(1, render)
    assert isinstance(result.error, DeviceFaultError)


def test_a_stop_before_the_first_chunk_ends_the_render_at_once(work) -> None:
    error = Interrupted(signal.SIGTERM)
    told = work(
        1,
        lambda _j, _s, _o, report, *_: wait(report, Warned("loading")),
        lambda event: (isinstance(event, Warned) and Stop(error)) or None,
    )
    assert isinstance(told[-1].error, Interrupted) and told[-1].error.exit_code == 143


def test_a_stop_between_chunks_waits_for_the_chunk_in_flight(work) -> None:
    stop = threading.Event()

    def render(_job: object, _stem: object, _options: object, report: Any, check: Any, _engines: object) -> None:
        report(STARTED)
        assert stop.wait(60)
        time.sleep(0.2)  # an interruption would come now
        report(Warned("the chunk is done"))
        check.check()

    def answer(message: object) -> Stop | None:
        if message != STARTED:
            return None
        threading.Timer(0.1, stop.set).start()
        return Stop(TimeLimitError("the time is up"))

    told = work(1, render, answer)
    assert [type(message) for message in told] == [Started, Warned, Result]
    assert isinstance(told[-1].error, TimeLimitError)


def test_a_second_stop_ends_the_render_within_a_chunk(work) -> None:
    stop = Stop(Interrupted(signal.SIGINT), now=True)
    told = work(
        1, lambda _j, _s, _o, report, *_: wait(report, STARTED), lambda event: stop if event == STARTED else None
    )
    assert isinstance(told[-1].error, Interrupted) and told[-1].error.exit_code == 130


def test_a_stop_after_the_end_comes_too_late(work) -> None:
    finished = Finished("done", 9, 9, 0.1, 0.1, 90.0, 0, 0, ())
    sent = threading.Event()

    def render(_job: object, _stem: object, _options: object, report: Callable[[Event], None], *_: object) -> None:
        report(STARTED)
        report(finished)
        assert sent.wait(60)
        time.sleep(0.2)  # an interruption would come now

    def answer(message: object) -> Stop | None:
        if message != finished:
            return None
        threading.Timer(0.1, sent.set).start()
        return Stop(Interrupted(signal.SIGTERM))

    assert work(1, render, answer)[-1].error is None


def test_the_engine_is_loaded_for_all_jobs_of_the_same_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[EngineRequest] = []
    monkeypatch.setattr(Engines, "get", lambda _, request, __: asked.append(request))
    engines = module._WideEngines()
    engines.widest = Order(order().job, "a", RenderOptions(), vace=True, expected_bytes=7)
    engines.get(EngineRequest(KNOWN_PIPELINES.get("longlive"), models=str(tmp_path), expected_bytes=3), lambda _: None)
    assert (asked[0].vace, asked[0].expected_bytes, asked[0].models) == (True, 7, str(tmp_path))
