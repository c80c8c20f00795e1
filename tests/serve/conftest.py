"""Calls an application in process, without a server; and watches everything that these tests start."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

WATCH = Path(__file__).parent / "watch" / "sitecustomize.py"
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


@pytest.fixture(scope="session", autouse=True)
def _watched(tmp_path_factory: pytest.TempPathFactory, _own_cache: None) -> Iterator[None]:
    """No test here, and no server or worker that it starts, touches a file outside the folders that it is given, or
    holds up an event loop."""
    spec = importlib.util.spec_from_file_location("watch", WATCH)
    assert spec and spec.loader
    watch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(watch)
    report = tmp_path_factory.mktemp("watch") / "report"
    folders = [str(tmp_path_factory.getbasetemp()), os.environ["SCOPE_BATCH_CACHE"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(watch.REPORT, str(report))
        patch.setenv(watch.FOLDERS, os.pathsep.join(folders))
        scratch = str(tmp_path_factory.mktemp("scratch"))
        patch.setenv("TMPDIR", scratch)
        patch.setattr(tempfile, "tempdir", scratch)
        path = [str(WATCH.parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
        end = watch.watch(str(report), folders)
        yield
        end()
    assert report.read_text() == "", f"{sys.executable} or a process that it started did what it may not"
