"""Calls an application in process, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

Call = Callable[..., httpx.Response]


@pytest.fixture
def call() -> Call:
    """call(app, "GET", "/health", headers=...) -> response; errors that escape the app become answers."""

    def request(app: ASGIApp, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())

    return request
