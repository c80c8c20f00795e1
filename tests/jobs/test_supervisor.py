"""Jobs end as they should whatever happens to a worker, to the supervisor, or to the job meanwhile."""

from __future__ import annotations

import json
import multiprocessing
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from scope_batch.core.failpoint import VARIABLE
from scope_batch.errors import OutputError
from scope_batch.events import Loading
from scope_batch.job import parse_job
from scope_batch.jobs import lane as lane_module
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.lane import after_event
from scope_batch.jobs.records import ENDED, BusyError, JobRecord, JobSettings, Progress
from scope_batch.jobs.supervisor import DrainingError, Supervisor
from scope_batch.jobs.worker import LoadOrder, Worker
from scope_batch.jobs.worker_process import WorkerProcess
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.jobs.waiting import PATIENCE_S, next_events

SETTINGS = JobSettings(("out.npy",))
LONG = 1800
"""Frames of a job of 151 chunks, most of which are still to be made when the tests have heard of the first ones."""
ENOUGH = 20
"""When so many chunks are made, the first of them are committed: the writer lags behind by a few."""
ENDLESS = 12_000
"""Frames of a job that is cancelled."""


def request(num_frames: int, **fields: Any) -> str:
    job = {"pipeline_id": "slate", "prompt": "a cat", "num_frames": num_frames, "height": 64, "width": 64}
    return json.dumps(job | fields)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], bytes]:
    """The bytes of the output of a job that is rendered without workers."""
    made: dict[int, bytes] = {}

    def render(num_frames: int) -> bytes:
        if num_frames not in made:
            path = tmp_path_factory.mktemp("rendered") / "out.npy"
            render_job(parse_job(json.loads(request(num_frames))), "job", RenderOptions(outputs=(str(path),)))
            made[num_frames] = path.read_bytes()
        return made[num_frames]

    return render


@contextmanager
def running(state_dir: Path, **options: Any) -> Iterator[tuple[JobTable, Supervisor]]:
    with JobTable(state_dir) as table, Supervisor(table, **options) as supervisor:
        yield table, supervisor


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[JobTable, Supervisor]]:
    """For tests after which the worker lives on. It has rendered a job."""
    with running(tmp_path_factory.mktemp("state"), queue_length=1) as (table, supervisor):
        supervisor.submit(request(9), SETTINGS)
        ended(table, table.records(1)[0])
        yield table, supervisor


def wait_for_chunks(table: JobTable, job: JobRecord) -> None:
    number = 0
    while events := next_events(table, job.id, number):
        if len(chunks(table, job)) >= ENOUGH:
            return
        number = events[-1].number
    pytest.fail("too few chunks were made")


def ended(table: JobTable, job: JobRecord) -> JobRecord:
    """Wait for the end of a job; whatever it was, it is told by exactly one event, the last one."""
    number = 0
    while events := next_events(table, job.id, number):
        number = events[-1].number
    record = table.get(job.id)
    assert record is not None and record.has_ended
    assert [event.kind for event in table.events(job.id) if event.kind in ENDED] == [record.state]
    assert table.events(job.id)[-1].kind == record.state
    return record


def chunks(table: JobTable, job: JobRecord) -> list[int]:
    return [json.loads(event.data)["chunk"] for event in table.events(job.id) if event.kind == "chunk"]


def output(record: JobRecord) -> bytes:
    assert record.state == "done", record.error
    return Path(record.outputs[0]).read_bytes()


def test_a_job_is_rendered_and_its_events_are_kept(
    shared: tuple[JobTable, Supervisor], rendered: Callable[[int], bytes]
) -> None:
    table, supervisor = shared
    record = ended(table, supervisor.submit(request(45), SETTINGS))
    assert output(record) == rendered(45)
    assert record.progress == Progress(4, 4, 45, 45)
    assert chunks(table, record) == [0, 1, 2, 3]
    files = {path.name for path in table.folder(record.id).rglob("*") if path.is_file()}
    assert files == {"out.npy", "out.npy.json"}


WORKER = """if True:
    import json, multiprocessing, sys, threading
    from scope_batch.jobs.worker import Worker
    from scope_batch.render.options import RenderOptions
    ours, theirs = multiprocessing.Pipe()
    outcomes = []
    def give_orders():
        for order in [*json.loads(sys.argv[1]), {"do": "drain"}]:
            ours.send_bytes(json.dumps(order).encode())
            while order["do"] != "drain" and "result" not in (message := json.loads(ours.recv_bytes())):
                pass
            outcomes.append(message["result"]["outcome"])
    threading.Thread(target=give_orders).start()
    Worker(theirs, RenderOptions()).run()
    print(outcomes[:2], "torch" in sys.modules)
"""


def test_a_slate_worker_never_imports_torch(tmp_path: Path) -> None:
    job = {"job": "x", "request": request(9), "folder": str(tmp_path), "settings": {"outputs": ["out.npy"]}}
    orders = [{"do": "load", "request": request(9), "vace": True}, {"do": "render", **job}]
    done = subprocess.run([sys.executable, "-c", WORKER, json.dumps(orders)], capture_output=True, text=True)
    assert done.stdout == "['done', 'done'] False\n", done.stderr


def test_a_job_that_cannot_be_rendered_fails_and_the_worker_stays(shared: tuple[JobTable, Supervisor]) -> None:
    table, supervisor = shared
    before = supervisor.worker_pids
    record = ended(table, supervisor.submit(request(9, height=8), SETTINGS))
    assert (record.state, record.exit_code) == ("failed", 65)
    assert "height" in record.error
    assert supervisor.worker_pids == before


def test_a_job_is_cancelled_while_it_runs_or_waits_and_not_afterwards(shared: tuple[JobTable, Supervisor]) -> None:
    table, supervisor = shared
    runs = supervisor.submit(request(ENDLESS), SETTINGS)
    waits = supervisor.submit(request(9), SETTINGS)
    with pytest.raises(BusyError):
        supervisor.submit(request(9), SETTINGS)
    wait_for_chunks(table, runs)
    supervisor.cancel(waits.id)
    assert ended(table, waits).state == "cancelled"
    supervisor.cancel(runs.id)
    record = ended(table, runs)
    assert record.state == "cancelled"
    assert 0 < record.progress.chunks_done < record.progress.num_chunks
    assert [Path(path).name for path in record.outputs] == ["out.partial.npy"]
    assert supervisor.cancel(runs.id) == record


def test_draining_interrupts_and_the_next_supervisor_goes_on(tmp_path: Path, rendered: Callable[[int], bytes]) -> None:
    with running(tmp_path, queue_length=1) as (table, supervisor):
        first, second = (supervisor.submit(request(frames), SETTINGS) for frames in (LONG, 9))
        wait_for_chunks(table, first)
        (pid,) = supervisor.worker_pids
        supervisor.drain()
        assert not psutil.pid_exists(pid)
        with pytest.raises(DrainingError):
            supervisor.submit(request(9), SETTINGS)
        assert [job.state for job in table.records()] == ["queued", "interrupted"]
    with running(tmp_path) as (table, _):
        assert output(ended(table, first)) == rendered(LONG)
        assert output(ended(table, second)) == rendered(9)
        assert chunks(table, first) == sorted(set(chunks(table, first)))


def test_a_worker_that_hangs_does_not_hold_up_draining(tmp_path: Path) -> None:
    with running(tmp_path) as (table, supervisor):
        job = supervisor.submit(request(ENDLESS), SETTINGS)
        wait_for_chunks(table, job)
        worker = psutil.Process(supervisor.worker_pids[0])
        worker.suspend()
        supervisor.drain(timeout_s=0.1)
        assert not worker.is_running()
        record = table.get(job.id)
        assert record is not None and record.state == "interrupted"


def test_a_chunk_that_never_returns_fails_its_job_and_the_next_one_gets_a_new_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rendered: Callable[[int], bytes]
) -> None:
    monkeypatch.setenv(VARIABLE, "chunk-generated:stop:2")
    with running(tmp_path, chunk_timeout_s=1.0) as (table, supervisor):
        record = ended(table, supervisor.submit(request(30), SETTINGS))
        assert (record.state, record.exit_code, chunks(table, record)) == ("failed", 124, [0])
        assert record.error == "chunk 2 did not end within 1 s (--chunk-timeout)"
        assert output(ended(table, supervisor.submit(request(9), SETTINGS))) == rendered(9)


def test_a_worker_that_never_begins_a_job_fails_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "START_S", 0.0)
    monkeypatch.setattr(WorkerProcess, "render", lambda *_: None)
    with running(tmp_path, chunk_timeout_s=0.1) as (table, supervisor):
        record = ended(table, supervisor.submit(request(30), SETTINGS))
    assert (record.state, record.exit_code) == ("failed", 124)
    assert record.error == "the preparation of the job did not end within 0.1 s (--chunk-timeout)"


def test_a_worker_that_never_ends_the_output_fails_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = WorkerProcess.receive

    def receive_no_result(worker: WorkerProcess, timeout_s: float | None = None) -> dict[str, Any]:
        message = receive(worker, PATIENCE_S)
        if "result" in message and timeout_s is not None:
            raise TimeoutError
        return message

    monkeypatch.setattr(WorkerProcess, "receive", receive_no_result)
    with running(tmp_path) as (table, supervisor):
        record = ended(table, supervisor.submit(request(9), SETTINGS))
    assert record.error == "the output did not end within 3600 s (--chunk-timeout)"


def test_a_worker_that_never_ends_a_load_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "START_S", 0.0)
    monkeypatch.setattr(WorkerProcess, "load", lambda *_: None)
    with running(tmp_path, chunk_timeout_s=0.1) as (table, supervisor):
        assert load(supervisor) == "the load did not end within 0.1 s (--chunk-timeout)"
        monkeypatch.setattr(lane_module, "START_S", PATIENCE_S)
        assert ended(table, supervisor.submit(request(9, height=8), SETTINGS)).exit_code == 65


def test_a_job_goes_on_with_a_worker_that_was_started_before_the_first_one_died(
    tmp_path: Path, rendered: Callable[[int], bytes]
) -> None:
    with running(tmp_path) as (table, supervisor):
        job = supervisor.submit(request(LONG), SETTINGS)
        wait_for_chunks(table, job)
        started = psutil.Process().children()
        (first,) = supervisor.worker_pids
        psutil.Process(first).kill()
        assert output(ended(table, job)) == rendered(LONG)
        (second,) = supervisor.worker_pids
        assert second != first and second in [child.pid for child in started]


def test_a_job_is_not_blamed_for_a_worker_that_died_before_it(tmp_path: Path) -> None:
    with running(tmp_path) as (table, supervisor):
        ended(table, supervisor.submit(request(9), SETTINGS))
        worker = psutil.Process(supervisor.worker_pids[0])
        worker.kill()
        threads = Path(f"/proc/{worker.pid}/task")
        while worker.status() != psutil.STATUS_ZOMBIE or len(list(threads.iterdir())) > 1:
            time.sleep(0.01)  # to wait for it would take its exit status away
        record = ended(table, supervisor.submit(request(9), SETTINGS))
        assert (record.state, record.lost_workers) == ("done", 0)


def load(supervisor: Supervisor, **fields: Any) -> str:
    """Load the engine of a job; returns why it cannot be loaded."""
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    supervisor.load(LoadOrder(request(9, **fields), vace=True), answers.put)
    return answers.get(timeout=PATIENCE_S)


def test_an_engine_is_loaded_before_any_job(shared: tuple[JobTable, Supervisor]) -> None:
    table, supervisor = shared
    before = supervisor.worker_pids
    assert load(supervisor) == ""
    assert "height" in load(supervisor, height=8)
    assert ended(table, supervisor.submit(request(9), SETTINGS)).state == "done"
    assert supervisor.worker_pids == before


def test_the_death_of_a_worker_that_loads_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerProcess, "load", lambda worker, _: worker.kill())
    with running(tmp_path) as (table, supervisor):
        assert load(supervisor) == "the worker process was killed by SIGKILL"
        assert ended(table, supervisor.submit(request(9), SETTINGS)).state == "done"


def test_draining_ends_a_load_at_its_next_part(monkeypatch: pytest.MonkeyPatch) -> None:
    _, theirs = pipe = multiprocessing.Pipe()
    worker = Worker(theirs, RenderOptions())
    worker._draining = True
    monkeypatch.setattr(Engines, "get", lambda _engines, _request, report: report(Loading("transformer")))
    assert worker._result_of(LoadOrder(request(9), vace=False)).error == "the server is shutting down"
    for end in pipe:
        end.close()


def test_an_engine_is_loaded_on_every_device(tmp_path: Path) -> None:
    with running(tmp_path, devices=("cpu", "auto")) as (_, supervisor):
        assert load(supervisor) == ""
        assert len(supervisor.worker_pids) == 2


@pytest.mark.parametrize(("num_chunks", "lost", "state"), [(5, 2, "done"), (9, 3, "failed")])
def test_a_job_outlives_the_death_of_two_workers_and_no_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rendered: Callable[[int], bytes],
    num_chunks: int,
    lost: int,
    state: str,
) -> None:
    """Every worker is killed when it has committed two more chunks."""
    frames = 12 * num_chunks - 3
    monkeypatch.setenv(VARIABLE, "manifest-chunk-done:kill:2")
    with running(tmp_path) as (table, supervisor):
        record = ended(table, supervisor.submit(request(frames), SETTINGS))
        resumed = [event for event in table.events(record.id) if event.kind == "resumed"]
    assert record.state == state
    assert record.lost_workers == lost
    if state == "done":
        assert output(record) == rendered(frames)
        assert len(resumed) == lost
    else:
        assert record.exit_code == 75
        assert record.error == "given up after 3 attempts; the last: the worker process was killed by SIGKILL"


def test_a_bug_fails_the_job_and_the_next_one_gets_a_new_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rendered: Callable[[int], bytes]
) -> None:
    started: list[int] = []

    class Counted(WorkerProcess):
        def __init__(self, options: RenderOptions) -> None:
            super().__init__(options)
            started.append(self.pid)

    monkeypatch.setattr(lane_module, "WorkerProcess", Counted)
    monkeypatch.setenv(VARIABLE, "chunk-generated:raise:2")
    with running(tmp_path) as (table, supervisor):
        record = ended(table, supervisor.submit(request(30), SETTINGS))
        assert (record.state, record.exit_code, record.error) == ("failed", 70, "internal error: FailpointError")
        assert output(ended(table, supervisor.submit(request(9), SETTINGS))) == rendered(9)
        assert supervisor.worker_pids == started[1:2]


@pytest.mark.parametrize(("times", "state"), [(1, "done"), (2, "failed")])
def test_an_error_beside_the_worker_delays_a_job_and_fails_it_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, state: str
) -> None:
    """Such as a full disk under the table."""
    end, left = JobTable.end, [*range(times)]

    def end_on_a_full_disk(table: JobTable, *args: Any, **values: Any) -> bool:
        if left:
            left.pop()
            raise OutputError("no space left")
        return end(table, *args, **values)

    monkeypatch.setattr(JobTable, "end", end_on_a_full_disk)
    monkeypatch.setattr(lane_module, "RETRY_S", 0.0)
    monkeypatch.setattr(lane_module, "MAX_LOST_WORKERS", 2)
    with running(tmp_path) as (table, supervisor):
        assert ended(table, supervisor.submit(request(9), SETTINGS)).state == state


SERVER = """if True:
    import sys, threading
    from pathlib import Path
    from scope_batch.jobs.records import JobSettings
    from scope_batch.jobs.supervisor import Supervisor
    from scope_batch.jobs.job_table import JobTable
    changed, number = threading.Event(), 0
    with JobTable(Path(sys.argv[1])) as table, Supervisor(table) as supervisor:
        with table.listeners.listening(lambda _: changed.set()):
            job = supervisor.submit(sys.argv[2], JobSettings(("out.npy",)))
            while changed.wait():
                changed.clear()
                for event in table.events(job.id, number):
                    number = event.number
                    if event.kind == "chunk":
                        print(supervisor.worker_pids[0], flush=True)
"""


def test_a_killed_server_takes_its_worker_along_and_the_next_one_goes_on(
    tmp_path: Path, rendered: Callable[[int], bytes]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path), request(LONG)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        pids = [int(server.stdout.readline()) for _ in range(ENOUGH)]  # a line for each chunk
        worker = psutil.Process(pids[0])
        server.kill()
    worker.wait(PATIENCE_S)
    with running(tmp_path) as (table, _):
        (job,) = table.records()
        assert output(ended(table, job)) == rendered(LONG)
        assert any(event.kind == "resumed" for event in table.events(job.id))
        assert chunks(table, job) == sorted(set(chunks(table, job)))


def test_a_job_that_was_cancelled_before_its_server_died_ends_as_cancelled(tmp_path: Path) -> None:
    with JobTable(tmp_path) as table:
        job = table.submit(request(ENDLESS), SETTINGS, most_active=1)
        table.take_next()
        table.cancel(job.id)
    with running(tmp_path) as (table, _):
        assert ended(table, job).state == "cancelled"
        assert chunks(table, job) == []


def test_each_device_has_a_worker_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path, devices=("cpu", "cpu")) as (table, supervisor):
        both = [supervisor.submit(request(ENDLESS), SETTINGS) for _ in range(2)]
        for job in both:
            wait_for_chunks(table, job)
        assert len(set(supervisor.worker_pids)) == 2
        for job in both:
            supervisor.cancel(job.id)
            assert ended(table, job).state == "cancelled"


def test_events_that_a_resumed_job_repeats_are_dropped() -> None:
    progress = Progress(2, 4, 21, 45)
    assert after_event(progress, {"event": "started", "chunks": 4, "num_frames": 45}) is None
    assert after_event(progress, {"event": "chunk", "chunk": 1, "frames_done": 21}) is None
    assert after_event(progress, {"event": "chunk-started", "chunk": 1}) is None
    assert after_event(progress, {"event": "chunk-started", "chunk": 2}) == progress
    assert after_event(progress, {"event": "chunk", "chunk": 2, "frames_done": 33}) == Progress(3, 4, 33, 45)
