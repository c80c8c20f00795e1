"""A client that reads a stream of events while they happen, which httpx's in-process transport cannot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

from starlette.types import ASGIApp


class Client:
    """Sends one body and reads the answer; `on_event` is called with each event's name. Hangs up after `leave_at`."""

    def __init__(self, on_event: Callable[[str], object] = lambda _: None, *, leave_at: str = "") -> None:
        self._body: bytes | None = None
        self.messages: list[dict[str, Any]] = []
        self._on_event, self._leave_at = on_event, leave_at
        self._gone = asyncio.Event()

    def send_body(self, body: bytes) -> None:
        self._body = body

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        for name, _ in events_in(message.get("body", b"")):
            self._on_event(name)
        if self._leave_at and self._leave_at.encode() in message.get("body", b""):
            self._gone.set()

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def events(self) -> list[tuple[str, Any]]:
        return [*events_in(self.text)]


def events_in(text: bytes) -> Iterator[tuple[str, Any]]:
    for block in text.decode("ascii").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
        if "event" in lines:
            yield lines["event"], json.loads(lines["data"])


async def post(app: ASGIApp, path: str, fields: Any, client: Client | None = None) -> Client:
    """Post a request as JSON; returns when the answer has ended."""
    client = client or Client()
    client.send_body(json.dumps(fields).encode())
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b"", "root_path": ""}
    await app(scope, client.receive, client.send)
    return client
