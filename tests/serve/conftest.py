"""Calls an application in process, without a server; and watches everything that these tests start."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Watch:
    """on: set while this process is watched; environment: has the processes watched that it starts."""

    report: Path
    on: threading.Event
    environment: dict[str, str]


@pytest.fixture(scope="session")
def _watch(tmp_path_factory: pytest.TempPathFactory, _own_cache: None) -> _Watch:
    spec = importlib.util.spec_from_file_location("watch", WATCH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("watch")
    (folder / "scratch").mkdir()
    folders = [str(tmp_path_factory.getbasetemp()), os.environ["SCOPE_BATCH_CACHE"]]
    environment = {
        module.REPORT: str(folder / "report"),
        module.FOLDERS: os.pathsep.join(folders),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(WATCH.parent), os.environ.get("PYTHONPATH", "")])),
        "TMPDIR": str(folder / "scratch"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "scratch" / "torch"),
    }
    return _Watch(folder / "report", module.watch(str(folder / "report"), folders), environment)


@pytest.fixture(scope="module", autouse=True)
def _watched(_watch: _Watch) -> Iterator[None]:
    """No test here, and no server or worker that it starts, touches a file outside the folders that it is given, or
    holds up an event loop."""
    _watch.report.write_text("")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _watch.environment.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", _watch.environment["TMPDIR"])
        _watch.on.set()
        yield
        _watch.on.clear()
    assert _watch.report.read_text() == "", "a process touched what it may not, or an event loop stood still"
