from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scope_batch.errors import OutputError
from scope_batch.events import ChunkDone, Started, Warned
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.records import EndState, JobRecord, JobSettings, Progress
from scope_batch.serve import event_stream
from scope_batch.serve.event_stream import EventStream, Listener
from scope_batch.serve.job_events import RAW_NAME, caller_text
from scope_batch.serve.requests import Translation
from tests.serve.client import Client
from tests.serve.server_process import PATIENCE_S

STARTED = Started("slate", 2, 21, 16.0, 64, 48, (), 0.5).to_json()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[JobTable]:
    with JobTable(tmp_path / "state") as opened:
        yield opened


def submit(table: JobTable) -> str:
    translation = Translation({}, names={"/srv/assets/tiger.png": "tiger.png"})
    caller = caller_text(translation, {"total_chunks": 2, "num_frames": 21})
    job = table.submit('{"pipeline_id": "slate"}', JobSettings((RAW_NAME,)), most_active=9, caller=caller).id
    table.take_next()
    return job


def start(table: JobTable, job: str) -> None:
    table.append_event(job, "loading", {"event": "loading", "what": "vae"})
    table.append_event(job, "started", STARTED, Progress(0, 2, 0, 21))


def make_chunk(table: JobTable, job: str, chunk: int) -> None:
    frames, done = (9, 12)[chunk], (9, 21)[chunk]
    event = ChunkDone(chunk, 2, frames, done, 21, 0.25, 0.5, 31.5, 0.1, "a cat")
    table.append_event(job, "chunk", event.to_json(), Progress(chunk + 1, 2, done, 21))


def render(table: JobTable, job: str, chunks: int = 2) -> None:
    start(table, job)
    for chunk in range(chunks):
        make_chunk(table, job, chunk)


def end(table: JobTable, job: str, state: EndState = "done", **values: Any) -> None:
    if state == "done":
        np.save(table.folder(job) / RAW_NAME, np.zeros((21, 64, 48, 3), np.uint8))
        values["outputs"] = (str(table.folder(job) / RAW_NAME),)
    table.end(job, state, **values)


def listen(table: JobTable, job: str, client: Client, *, closing: bool = False, **wish: Any) -> Client:
    async def run() -> None:
        event = asyncio.Event()
        if closing:
            event.set()
        wishes = {"position": lambda _: 0, **wish}
        await EventStream(Listener(table, job, **wishes), event)({"type": "http"}, client.receive, client.send)

    asyncio.run(run())
    return client


def test_the_events_of_a_finished_job(table: JobTable) -> None:
    job = submit(table)
    render(table, job)
    end(table, job)
    client = listen(table, job, Client())
    sizes = {"video_shape": [21, 64, 48, 3], "num_frames": 21, "num_chunks": 2, "chunk_size": 12}
    complete = {"output_path": f"output-{job}", **sizes}
    assert client.events == [
        ("started", {"job": job, "total_chunks": 2, "num_frames": 21, "position": 0}),
        ("progress", {"chunk": 1, "total_chunks": 2, "frames": 9, "fps": 31.5, "latency": 0.25}),
        ("progress", {"chunk": 2, "total_chunks": 2, "frames": 12, "fps": 31.5, "latency": 0.25}),
        ("complete", complete),
    ]


def waiting(table: JobTable, jobs: int) -> list[str]:
    """Submit jobs, of which the first one runs."""
    caller = caller_text(Translation({}), {"total_chunks": 2, "num_frames": 21})
    settings = JobSettings((RAW_NAME,))
    ids = [table.submit('{"pipeline_id": "slate"}', settings, most_active=9, caller=caller).id for _ in range(jobs)]
    table.take_next()
    return ids


def test_a_job_that_waits_hears_its_position_until_it_runs(table: JobTable) -> None:
    first, second, third = waiting(table, 3)
    steps = iter([lambda: table.end(first, "failed"), lambda: table.cancel(second), lambda: table.end(third, "failed")])

    def ahead(record: JobRecord) -> int:
        return table.jobs_ahead(record.id)

    events = listen(table, third, Client(lambda _: next(steps, lambda: None)()), position=ahead).events
    assert events[0] == ("started", {"job": third, "total_chunks": 2, "num_frames": 21, "position": 2})
    assert events[1:3] == [("position", {"job": third, "position": position}) for position in (1, 0)]
    assert [name for name, _ in events[3:]] == ["error"]


@pytest.mark.parametrize(("position", "names"), [(0, ["cancelled"]), (3, ["position", "cancelled"])])
def test_who_comes_back_hears_the_position_only_if_the_job_waits(
    position: int, names: list[str], table: JobTable
) -> None:
    job = submit(table)
    start(table, job)
    table.end(job, "cancelled")
    events = listen(table, job, Client(), position=lambda _: position, after=2).events
    assert [name for name, _ in events] == names


def test_the_headers_are_those_that_clients_need(table: JobTable) -> None:
    job = submit(table)
    end(table, job)
    headers = dict(listen(table, job, Client()).messages[0]["headers"])
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert (headers[b"cache-control"], headers[b"x-accel-buffering"]) == (b"no-cache", b"no")
    assert headers[b"x-job-id"] == job.encode()


def test_each_event_arrives_before_the_next_one_exists(table: JobTable) -> None:
    job = submit(table)
    start(table, job)
    steps = iter([lambda: make_chunk(table, job, 0), lambda: make_chunk(table, job, 1), lambda: end(table, job)])
    events = listen(table, job, Client(lambda _: next(steps, lambda: None)())).events
    assert [name for name, _ in events] == ["started", "progress", "progress", "complete"]


def test_a_client_continues_behind_the_event_it_has(table: JobTable) -> None:
    job = submit(table)
    render(table, job)
    end(table, job)
    numbers = [
        int(line[4:]) for line in listen(table, job, Client()).text.decode().splitlines() if line.startswith("id: ")
    ]
    for position, number in enumerate(numbers[:-1]):
        rest = listen(table, job, Client(), after=number).text.decode()
        assert [int(line[4:]) for line in rest.splitlines() if line.startswith("id: ")] == numbers[position + 1 :]


def test_who_has_the_last_event_already_gets_none(table: JobTable) -> None:
    job = submit(table)
    end(table, job)
    assert listen(table, job, Client(), after=1).events == []


@pytest.mark.parametrize(
    ("state", "values", "expected"),
    [
        (
            "failed",
            {"error": "/srv/assets/tiger.png: too small", "exit_code": 65},
            ("error", {"error": "tiger.png: too small"}),
        ),
        ("cancelled", {}, ("cancelled", {"chunk": 1, "total_chunks": 2, "frames_completed": 9})),
    ],
)
def test_exactly_one_last_event(state: EndState, values: dict[str, Any], expected: Any, table: JobTable) -> None:
    job = submit(table)
    render(table, job, chunks=1)
    end(table, job, state, **values)
    events = listen(table, job, Client()).events
    assert events[-1] == expected
    assert [name for name, _ in events] == ["started", "progress", expected[0]]


def test_a_cancelled_job_names_its_partial_output(table: JobTable) -> None:
    job = submit(table)
    end(table, job, "cancelled", outputs=(str(table.folder(job) / "out.partial.npy"),))
    assert listen(table, job, Client()).events[-1][1]["output_path"] == f"output-{job}"


def test_warnings_use_the_clients_names(table: JobTable) -> None:
    job = submit(table)
    table.append_event(job, "warning", Warned("/srv/assets/tiger.png: é").to_json())
    end(table, job)
    assert listen(table, job, Client()).events[1] == ("warning", {"message": "tiger.png: é"})


def test_a_client_that_leaves_before_the_end_is_noticed_at_once(table: JobTable) -> None:
    job = submit(table)
    render(table, job)
    left: list[str] = []
    listen(table, job, Client(leave_at="progress"), on_hang_up=lambda: left.append(job))
    assert left == [job]


def test_an_error_that_keeps_a_job_from_being_cancelled_is_logged(
    table: JobTable, caplog: pytest.LogCaptureFixture
) -> None:
    def cancel() -> None:
        raise OutputError("no space left")

    job = submit(table)
    render(table, job)
    listen(table, job, Client(leave_at="progress"), on_hang_up=cancel)
    (record,) = [record for record in caplog.records if "no space left" in record.message]
    assert record.name == event_stream.__name__


def test_a_client_that_leaves_after_the_end_cancels_nothing(table: JobTable) -> None:
    job = submit(table)
    end(table, job)
    left: list[str] = []
    listen(table, job, Client(leave_at="complete"), on_hang_up=lambda: left.append(job))
    assert left == []


def test_a_client_whose_connection_breaks_is_noticed(table: JobTable) -> None:
    job = submit(table)
    render(table, job)
    left: list[str] = []

    def fail(_: str) -> None:
        raise OSError("broken pipe")

    with pytest.raises(OSError, match="broken pipe"):
        listen(table, job, Client(fail), on_hang_up=lambda: left.append(job))
    assert left == [job]


def test_a_client_that_does_not_read_holds_up_neither_the_job_nor_others(table: JobTable) -> None:
    job = submit(table)
    start(table, job)
    make_chunk(table, job, 0)

    class Stuck(Client):
        async def send(self, message: dict[str, Any]) -> None:
            await super().send(message)
            if b"progress" in message.get("body", b""):
                await asyncio.Event().wait()

    async def run(stuck: Client, other: Client) -> None:
        streams = [EventStream(Listener(table, job, position=lambda _: 0), asyncio.Event()) for _ in range(2)]
        waiting = asyncio.create_task(streams[0]({"type": "http"}, stuck.receive, stuck.send))
        async with asyncio.timeout(PATIENCE_S):
            while len(stuck.events) < 2:
                await asyncio.sleep(0.001)
        make_chunk(table, job, 1)
        end(table, job)
        await streams[1]({"type": "http"}, other.receive, other.send)
        waiting.cancel()

    stuck, other = Stuck(), Client()
    asyncio.run(run(stuck, other))
    assert [name for name, _ in stuck.events] == ["started", "progress"]
    assert [name for name, _ in other.events] == ["started", "progress", "progress", "complete"]


def test_a_stream_of_a_waiting_job_does_not_read_the_table_for_chunks_of_the_job_ahead(table: JobTable) -> None:
    ahead, job, reads = submit(table), submit(table), list[str]()

    def position(_: JobRecord) -> int:
        reads.append("")
        return table.jobs_ahead(job)

    async def run(client: Client) -> None:
        stream = EventStream(Listener(table, job, position=position), asyncio.Event())
        watching = asyncio.create_task(stream({"type": "http"}, client.receive, client.send))
        await asyncio.sleep(0.2)
        begun = len(reads)
        for chunk in range(2):
            make_chunk(table, ahead, chunk)
            await asyncio.sleep(0.05)
        assert len(reads) == begun
        end(table, ahead)
        async with asyncio.timeout(PATIENCE_S):
            while len(client.events) < 2:
                await asyncio.sleep(0.001)
        watching.cancel()

    client = Client()
    asyncio.run(run(client))
    assert [(name, data.get("position")) for name, data in client.events] == [("started", 1), ("position", 0)]


def test_a_silent_job_sends_comments(table: JobTable) -> None:
    job = submit(table)
    client = listen(table, job, Client(leave_at=": still here"), heartbeat_s=0.001)
    assert [name for name, _ in client.events] == ["started"]
    assert client.text.count(b": still here\n\n") == 1


def test_a_server_that_shuts_down_ends_the_stream_and_not_the_job(table: JobTable) -> None:
    job = submit(table)
    render(table, job, chunks=1)
    left: list[str] = []
    events = listen(table, job, Client(), closing=True, on_hang_up=lambda: left.append(job)).events
    assert [name for name, _ in events] == ["started", "progress", "error"]
    assert left == []


def test_a_job_that_is_deleted_ends_its_streams(table: JobTable) -> None:
    job = submit(table)
    end(table, job)
    table.remove(job)
    assert listen(table, job, Client()).events == [("error", {"error": "the job was deleted"})]
