"""Talks to a server as clients do that soak programs need: they hang up, wait, and count."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.serve.server_process import Running

BATCH = "/api/v1/batch"
SIZE = {"height": 64, "width": 64}
ENDLESS = 10_000


def job(num_frames: int, **fields: Any) -> dict[str, Any]:
    return {"pipeline_id": "slate", "prompt": "a cat", "num_frames": num_frames, "seed": 42, **SIZE, **fields}


def load(server: Running, pipeline_id: str = "slate") -> None:
    """Load a pipeline and wait for it."""
    server.http.post("/api/v1/pipeline/load", json={"pipeline_ids": [pipeline_id]}).raise_for_status()
    while (status := server.http.get("/api/v1/pipeline/status").json())["status"] == "loading":
        time.sleep(0.02)
    assert status["status"] == "loaded", status


@dataclass(frozen=True)
class Event:
    number: int
    name: str
    data: dict[str, Any]


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """Read the events of a text/event-stream; number: 0 of one without an id."""
    number, name = 0, ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "id":
            number = int(value)
        elif field == "event":
            name = value
        elif field == "data":
            yield Event(number, name, json.loads(value))
            number = 0


def events_after(server: Running, job: str, number: int = 0) -> Iterator[Event]:
    """Yield the events of a job whose number is higher, as they happen; hangs up when it is closed."""
    headers = {"Last-Event-ID": str(number)}
    with server.http.stream("GET", f"{BATCH}/{job}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        yield from events_of(answer.iter_lines())


def start(server: Running, fields: dict[str, Any]) -> str:
    """Post a job and hang up when its stream has begun; for servers whose jobs outlive that. Returns its id."""
    with server.http.stream("POST", BATCH, json=fields) as answer:
        assert answer.status_code == 200, answer.read()
        return answer.headers["X-Job-Id"]


def download(server: Running, job: str) -> bytes:
    """Return the frames of a finished job, without the header of 20 bytes."""
    answer = server.http.get(f"{BATCH}/download", params={"path": f"output-{job}"})
    return answer.raise_for_status().content[20:]


def open_request(server: Running, fields: dict[str, Any] | None = None, path: str = BATCH) -> socket.socket:
    """Send a whole request and return the connection, from which nothing has been read; fields: JSON to post."""
    connection = socket.create_connection((server.http.base_url.host, server.http.base_url.port or 0))
    body = b"" if fields is None else json.dumps(fields).encode()
    head = f"{'GET' if fields is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if fields is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(head.encode() + b"\r\n" + body)
    return connection


def active_jobs(state: Path) -> int:
    """Return how many jobs of a state directory run or wait, read past the server."""
    with closing(sqlite3.connect(f"file:{state / 'jobs.sqlite3'}?mode=ro", uri=True)) as table:
        query = "SELECT COUNT(*) FROM job WHERE state IN ('queued', 'running', 'interrupted')"
        return int(table.execute(query).fetchone()[0])


def wait_until_idle(server: Running) -> None:
    while active_jobs(server.folder / "state"):
        time.sleep(0.005)


def cancel(server: Running) -> None:
    server.http.post(f"{BATCH}/cancel").raise_for_status()
    wait_until_idle(server)


def is_up(server: Running) -> bool:
    try:
        return server.http.get("/health").is_success
    except httpx.TransportError:
        return False
