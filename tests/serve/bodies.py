"""Makes requests with bodies that arrive in parts, stall or break off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from starlette.requests import Request

VIDEO = np.arange(3 * 8 * 16 * 3, dtype=np.uint8).reshape(3, 8, 16, 3)
SHAPE = {"X-Video-Frames": "3", "X-Video-Height": "8", "X-Video-Width": "16"}
STALLED = "stalled"
GONE = "gone"


def request_of(parts: Iterable[bytes | str], headers: dict[str, str]) -> Request:
    """A request whose body arrives in `parts`; after STALLED nothing comes, at GONE the client hangs up."""
    messages: Iterator[bytes | str | None] = iter([*parts, None])

    async def receive() -> dict[str, Any]:
        part = next(messages)
        if part == STALLED:
            await asyncio.Event().wait()
        if part == GONE:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)
