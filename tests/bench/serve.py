"""Measures a job over HTTP with and without many clients that watch, and the latency of /health meanwhile."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx

from tests.bench.figures import Figure, shares
from tests.serve.server_process import Running, running
from tests.soak.serve_client import (
    BATCH,
    ENDLESS,
    cancel,
    events_after,
    job,
    load,
    open_request,
    start,
    wait_until_idle,
)

POLL_S = 0.02


def serve(
    folder: Path, *, pairs: int = 10, streams: int = 200, frames: int = 360, height: int = 480, width: int = 832
) -> list[Figure]:
    """Render slates alone and beside `streams` clients that wait for the events of a queued job; the two take turns."""
    fields = job(frames, height=height, width=width)
    alone_fps: list[float] = []
    watched_fps: list[float] = []
    waited_ms: list[float] = []
    options = ("--queue", "2", "--on-disconnect", "continue")
    with tempfile.TemporaryDirectory(dir=folder) as place, running(Path(place), *options) as server:
        load(server)
        _measure(server, job(600), 0, [], [])
        for _ in range(pairs):
            _measure(server, fields, 0, alone_fps, [])
            _measure(server, fields, streams, watched_fps, waited_ms)
    p99_ms = statistics.quantiles(waited_ms, n=100)[98]
    note = f"{streams} idle streams, {frames} frames of {width}x{height}"
    return [
        Figure("serve: speed beside idle streams", "%", shares(watched_fps, alone_fps), at_least=95, note=note),
        Figure("serve: alone", "fps", tuple(alone_fps)),
        Figure("serve: beside idle streams", "fps", tuple(watched_fps)),
        Figure("serve: p99 of /health", "ms", (p99_ms,), at_most=50, note=f"{len(waited_ms)} calls"),
    ]


def _measure(
    server: Running, fields: dict[str, object], streams: int, into: list[float], waited_ms: list[float]
) -> None:
    """Append the frames per second of the job from its first chunk to its last, and the milliseconds of each call of
    /health meanwhile; all streams are open before the job begins."""
    holding = start(server, job(ENDLESS))
    job_id = start(server, fields)
    waiting = start(server, fields)
    with ExitStack() as stack:
        for _ in range(streams):
            stream = stack.enter_context(closing(open_request(server, path=f"{BATCH}/{waiting}/events")))
            assert stream.recv(12) == b"HTTP/1.1 200"
        events = events_after(server, job_id)
        server.http.delete(f"{BATCH}/{holding}").raise_for_status()
        first = next(event for event in events if event.name == "progress")
        began_s = time.perf_counter()
        with _health(server, waited_ms):
            *_, last = events
        took_s = time.perf_counter() - began_s
        assert last.name == "complete"
        into.append((last.data["num_frames"] - first.data["frames"]) / took_s)
    cancel(server)
    wait_until_idle(server)


@contextmanager
def _health(server: Running, waited_ms: list[float]) -> Iterator[None]:
    """Call /health again and again during the with-body."""
    ended = threading.Event()

    def call() -> None:
        with httpx.Client(base_url=server.http.base_url, timeout=60) as http:
            while not ended.wait(POLL_S):
                began_s = time.perf_counter()
                http.get("/health").raise_for_status()
                waited_ms.append(1000 * (time.perf_counter() - began_s))

    calling = threading.Thread(target=call)
    calling.start()
    try:
        yield
    finally:
        ended.set()
        calling.join()
