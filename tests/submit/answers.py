"""A server that answers by hand, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from scope_batch.submit.connection import Server

Answer = Callable[[httpx.Request], httpx.Response]
URL = "http://gpu:8000"
JOB = 32 * "a"


class Broken(httpx.SyncByteStream):
    """A body that breaks off after its parts."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        raise httpx.ReadError("connection reset")


class Time:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


def server(*answers: Answer, token: str | None = None) -> tuple[Server, list[httpx.Request], Time]:
    """A server that gives these answers one after another, the last one again and again."""
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answers[min(len(requests), len(answers)) - 1](request)

    time = Time()
    made = Server(URL, token, pause=time.pause, clock=lambda: time.now_s, transport=httpx.MockTransport(handle))
    return made, requests, time


def says(status: int = 200, **values: Any) -> Answer:
    return lambda _: httpx.Response(status, json=values)


def refused(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("[Errno 111] Connection refused")


def streams(*events: tuple[int, str, dict[str, Any]], broken: bool = False) -> Answer:
    text = "".join(f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for number, kind, data in events)
    data = b": still here\n\n" + text.encode()
    headers = {"Content-Type": "text/event-stream; charset=utf-8"}
    return lambda _: httpx.Response(200, headers=headers, stream=Broken(data) if broken else httpx.ByteStream(data))
