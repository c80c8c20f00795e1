"""Crowds, leaves and kills servers and their workers, and checks what clients get.

    python -m tests.soak.serve_jobs --crowds 100 --leavers 100 --reconnects 100 --stalled 20
    python -m tests.soak.serve_jobs --workers 20 --tiny-workers 2 --servers 20 --signals 5

--crowds       so many times 50 clients post at once: one job runs, the others get 409 before any event.
--leavers      so many clients leave at a random moment: the worker is free within one chunk and a second. The
               garbage collector of the server is off.
--reconnects   a client reads a job's events with so many breaks: it gets each one once.
--stalled      so many clients post or watch and read nothing: the job is done all the same.
--workers      so many workers are killed in a job: it goes on and has the right bytes.
--tiny-workers the same with the built-in models.
--servers      so many servers are killed in a job: it ends behind a restart with the right bytes, and no file of
               another server is touched.
--signals      so many servers get SIGTERM in a job with three open streams.

Prints a line per part; ends with a failed assertion at the first fault.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import os
import random
import select
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from scope_batch.job import parse_job
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.serve.server_process import PATIENCE_S, Running, running
from tests.soak.serve_client import (
    BATCH,
    ENDLESS,
    Event,
    active_jobs,
    download,
    events_after,
    events_of,
    job,
    load,
    open_request,
    start,
    wait_until_idle,
)  # fmt: skip

NO_GARBAGE_COLLECTION = "import gc; gc.disable(); "
CROWD = 50
LONG = 1800
"""Frames of a job of 150 chunks, in which something is killed."""
QUIET_S = 0.3
"""When no job was seen for so long after its client had left, none will come."""
Times = list[float]


def expected(fields: dict[str, Any]) -> bytes:
    """Return the frames of the same job, rendered here."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out.npy")
        render_job(parse_job({"chunk_grid": 12, **fields}), "job", RenderOptions(outputs=(str(output),)))
        return np.load(output).tobytes()


def seconds(times: Sequence[float]) -> str:
    return f"median {statistics.median(times):.3f} s, longest {max(times):.3f} s"


def crowd(server: Running, rounds: int) -> str:
    """Let 50 clients post at once, so many times."""

    async def post_all() -> list[tuple[int, str, bytes]]:
        limits = httpx.Limits(max_connections=CROWD)
        async with httpx.AsyncClient(base_url=server.http.base_url, limits=limits, timeout=PATIENCE_S) as http:
            all_sent = asyncio.Barrier(CROWD + 1)

            async def post() -> tuple[int, str, bytes]:
                async with http.stream("POST", BATCH, json=job(ENDLESS)) as answer:
                    await all_sent.wait()  # the one that runs is cancelled when the others are refused
                    return answer.status_code, answer.headers["content-type"], await answer.aread()

            posts = [asyncio.create_task(post()) for _ in range(CROWD)]
            await all_sent.wait()
            (await http.post(f"{BATCH}/cancel")).raise_for_status()
            return await asyncio.gather(*posts)

    for _ in range(rounds):
        answers = asyncio.run(post_all())
        refused = [answer for answer in answers if answer[0] == 409]
        assert len(refused) == CROWD - 1, [answer[0] for answer in answers]
        assert all(kind == "application/problem+json" and b"event:" not in body for _, kind, body in refused)
        (ran,) = [body for status, _, body in answers if status == 200]
        names = [event.name for event in events_of(iter(ran.decode().splitlines()))]
        assert names[-1] == "cancelled" and names.count("cancelled") == 1, names
        wait_until_idle(server)
    return f"{rounds} crowds of {CROWD}: each time one ran and {CROWD - 1} got 409 before any event"


def leave(server: Running, times: int, chance: random.Random, most_s: float = 1.0) -> str:
    """Let clients hang up at a random moment, from the request's last byte to the tenth chunk or so.

    most_s  so long the worker may be busy beyond the longest chunk.
    """
    state = server.folder / "state"
    chunk_s = chunk_seconds(server)
    freed: Times = []
    for _ in range(times):
        connection = open_request(server, job(2 * LONG))
        time.sleep(chance.uniform(0, 10 * chunk_s + 0.05))
        connection.close()
        left_s = busy_s = time.monotonic()
        while time.monotonic() - busy_s < QUIET_S:
            if active_jobs(state):
                busy_s = time.monotonic()
            time.sleep(0.002)
        freed.append(busy_s - left_s)
    told = f"the worker was free after {seconds(freed)}, a chunk takes {chunk_s:.3f} s"
    late = [round(one_s, 3) for one_s in freed if one_s > chunk_s + most_s]
    assert not late, f"{told}; too late: {late} (load {os.getloadavg()[0]:.0f})"
    with closing(open_request(server, job(9))) as again:
        assert again.recv(12) == b"HTTP/1.1 200"
        wait_until_idle(server)
    return f"{times} clients left; {told}"


def chunk_seconds(server: Running) -> float:
    """Return the longest time between two chunks of a job."""
    with server.http.stream("POST", BATCH, json=job(LONG)) as answer:
        times = [time.monotonic() for event in events_of(answer.iter_lines()) if event.name == "progress"]
    return max(b - a for a, b in itertools.pairwise(times))


def reconnect(server: Running, times: int, chance: random.Random, fields: dict[str, Any]) -> str:
    """Read the events of a job with breaks, each connection going on behind the last event of the one before."""
    begun, seen = 0, list[Event]()
    while begun < times:
        with closing(open_request(server, fields)) as poster:
            job_id = _job_of(poster)
            mine: list[Event] = []
            while begun < times:
                begun += 1
                stream = events_after(server, job_id, mine[-1].number if mine else 0)
                wanted = chance.randint(1, 5)
                for event in stream:
                    mine.append(event)
                    wanted -= 1
                    if wanted == 0 or event.name == "complete":
                        break
                stream.close()
                if mine[-1].name == "complete":
                    break
        wait_until_idle(server)
        whole = [*events_after(server, job_id)]
        assert mine == whole[: len(mine)], "an event was lost, repeated or changed"
        assert [event.number for event in whole] == sorted({event.number for event in whole})
        seen += mine
    return f"{begun} connections gave {len(seen)} events, none lost and none twice"


def _job_of(connection: Any) -> str:
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    (name,) = [line for line in head.decode().split("\r\n") if line.lower().startswith("x-job-id")]
    return name.split(": ")[1]


def stall(server: Running, readers: int, fields: dict[str, Any]) -> str:
    """Render a job whose client, and others that watch, read nothing."""
    alone_s = _render_s(server, 0, fields)
    crowded_s = _render_s(server, readers, fields)
    return f"with {readers} clients that read nothing a job took {crowded_s:.2f} s, without {alone_s:.2f} s"


def _render_s(server: Running, readers: int, fields: dict[str, Any]) -> float:
    began_s = time.monotonic()
    poster = open_request(server, fields)
    job_id = _job_of(poster)
    watchers = [open_request(server, path=f"{BATCH}/{job_id}/events") for _ in range(readers)]
    wait_until_idle(server)
    took_s = time.monotonic() - began_s
    assert server.http.get(f"{BATCH}/{job_id}").json()["state"] == "done"
    for connection in (poster, *watchers):
        connection.close()
    return took_s


def kill_workers(server: Running, times: int, chance: random.Random, fields: dict[str, Any], *, torch: bool) -> str:
    """Kill the worker in jobs that go on by another one."""
    right = expected(fields)
    replaced: Times = []
    went_on: Times = []
    while len(went_on) < times:
        with server.http.stream("POST", BATCH, json=fields) as answer:
            job_id = answer.headers["X-Job-Id"]
            events = events_of(answer.iter_lines())
            chunks = next(event for event in events if event.name == "started").data["total_chunks"]
            behind = chance.randint(1, chunks // 2)
            assert any(event.name == "progress" and event.data["chunk"] == behind for event in events)
            worker, *_ = server.workers
            assert torch or "libtorch" not in Path(f"/proc/{worker.pid}/maps").read_text()
            worker.suspend()
            if server.http.get(f"{BATCH}/{job_id}").json()["chunks_done"] >= chunks - 2:
                worker.resume()
                assert [*events][-1].name == "complete"
                continue  # too late
            worker.kill()
            killed_s = time.monotonic()
            while server.workers[:1] in ([], [worker]):
                time.sleep(0.005)
            replaced.append(time.monotonic() - killed_s)
            done = server.http.get(f"{BATCH}/{job_id}").json()["chunks_done"]
            later = (event for event in events if event.name == "progress" and event.data["chunk"] > done)
            assert next(later, None), "the job did not go on"
            went_on.append(time.monotonic() - killed_s)
            *_, last = events
        assert last.name == "complete", last
        assert download(server, job_id) == right, "wrong bytes"
        worker, *_ = server.workers
        assert torch or "libtorch" not in Path(f"/proc/{worker.pid}/maps").read_text()
    return (
        f"{times} workers killed: every job had the right bytes; another worker was there after {seconds(replaced)}; "
        f"the next chunk came after {seconds(went_on)}"
    )


def kill_servers(folder: Path, times: int, chance: random.Random, fields: dict[str, Any]) -> str:
    """Kill servers in jobs that the next one goes on with; another server stands by."""
    right = expected(fields)
    with running(folder / "other") as other:
        load(other)
        with other.http.stream("POST", BATCH, json=job(30)) as answer:
            assert [event.name for event in events_of(answer.iter_lines())][-1] == "complete"
        files = other.http.post(f"{BATCH}/upload-data", content=b"kept").raise_for_status().json()
        before = tree(folder / "other")
        for _ in range(times):
            with running(folder / "killed", "--on-disconnect", "continue") as server:
                load(server)
                job_id = start(server, fields)
                behind = chance.randint(1, fields["num_frames"] // 20)
                assert any(event.data.get("chunk") == behind for event in events_after(server, job_id))
                workers = server.workers
                server.process.kill()
                server.process.wait()
                assert psutil.wait_procs(workers, PATIENCE_S)[1] == []
            with running(folder / "killed") as server:
                assert [*events_after(server, job_id)][-1].name == "complete"
                assert download(server, job_id) == right, "wrong bytes"
                server.http.delete(f"{BATCH}/{job_id}").raise_for_status()
                assert server.stop() == 0
        assert tree(folder / "other") == before, "files of another server were touched"
        assert files["size_bytes"] == 4
    return f"{times} servers killed: every job had the right bytes after the restart, and no other file was touched"


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Return when each file below the folder was changed, and its SHA-256."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def terminate(folder: Path, times: int, most_s: float = 5.0) -> str:
    """Send SIGTERM to servers with a render and three open streams.

    most_s  so long a server may take to leave beyond one chunk.
    """
    fields = job(ENDLESS)
    exits: Times = []
    refused = 0
    for _ in range(times):
        with running(folder, "--on-disconnect", "continue") as server:
            load(server)
            poster = open_request(server, fields)
            job_id = _job_of(poster)
            next(events_after(server, job_id))
            chunk_s = _median_gap(server, job_id)
            streams = [poster, *(open_request(server, path=f"{BATCH}/{job_id}/events") for _ in range(2))]
            for stream in streams[1:]:
                assert stream.recv(12) == b"HTTP/1.1 200"
            server.process.send_signal(signal.SIGTERM)
            began_s = time.monotonic()
            with suppress(httpx.TransportError):  # until the door is closed
                while True:
                    answer = server.http.post(BATCH, json=fields)
                    assert answer.status_code in (503, 409), answer.status_code  # 409: the signal is on its way
                    refused += answer.status_code == 503
            for stream in streams:
                text = _rest(stream)
                assert text.count(b"event: error") == 1 and b"shutting down" in text, text[-300:]
            assert server.process.wait(PATIENCE_S) == 0
            exits.append(time.monotonic() - began_s)
            assert exits[-1] <= chunk_s + most_s, f"the server took {exits[-1]:.2f} s to leave"
        with running(folder) as server:
            state = server.http.get(f"{BATCH}/{job_id}").json()
            assert state["chunks_done"] > 0 and state["state"] in ("running", "interrupted")
            server.http.delete(f"{BATCH}/{job_id}").raise_for_status()
            wait_until_idle(server)
    left = seconds(exits)
    return f"{times} servers got SIGTERM: all streams ended with an event, {refused} posts got 503; exit after {left}"


def _median_gap(server: Running, job_id: str) -> float:
    times: Times = []
    for event in events_after(server, job_id):
        if event.name == "progress":
            times.append(time.monotonic())
        if len(times) == 10:
            break
    return statistics.median(b - a for a, b in itertools.pairwise(times))


def _rest(stream: Any) -> bytes:
    text = b""
    with closing(stream):
        while select.select([stream], [], [], PATIENCE_S)[0] and (data := stream.recv(1 << 16)):
            text += data
    return text


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("crowds", "leavers", "reconnects", "stalled", "workers", "tiny-workers", "servers", "signals", "seed")
    for name in names:
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="soak-serve-") as place:
        folder = Path(place)
        os.environ.setdefault("SCOPE_BATCH_CACHE", f"{folder}/cache")
        parts: list[tuple[int, Any]] = [
            (options.crowds, lambda server: crowd(server, options.crowds)),
            (options.leavers, lambda server: leave(server, options.leavers, chance)),
            (options.reconnects, lambda server: reconnect(server, options.reconnects, chance, job(ENDLESS))),
            (options.stalled, lambda server: stall(server, options.stalled, job(2 * LONG))),
            (options.workers, lambda server: kill_workers(server, options.workers, chance, job(LONG), torch=False)),
        ]
        if any(wanted for wanted, _ in parts):
            with running(folder / "one", prelude=NO_GARBAGE_COLLECTION) as server:
                load(server)
                for wanted, part in parts:
                    if wanted:
                        print(part(server), flush=True)
        if options.tiny_workers:
            fields = job(93, pipeline_id="longlive", models="tiny")
            with running(folder / "tiny", "--models", "tiny", "--device", "cpu") as server:
                load(server, "longlive")
                print(
                    "tiny models:", kill_workers(server, options.tiny_workers, chance, fields, torch=True), flush=True
                )
        if options.servers:
            print(kill_servers(folder / "servers", options.servers, chance, job(LONG)), flush=True)
        if options.signals:
            print(terminate(folder / "signals", options.signals), flush=True)


if __name__ == "__main__":
    run()
    sys.exit(0)
