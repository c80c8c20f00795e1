"""Fixtures of the rooms that test shared storage; each imports those that it needs into its conftest."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from tests.storage.cutting_proxy import CuttingProxy
from tests.storage.s3_server import S3Server
from tests.storage.storages import BUCKET, S3, endpoint_of_environment


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    if (endpoint := endpoint_of_environment()) is not None:
        yield endpoint
        return
    with S3Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.url
        server.shutdown()


@pytest.fixture(scope="session")
def s3_client(s3_endpoint: str) -> Any:
    client = fsspec.filesystem("s3", endpoint_url=s3_endpoint, key="test", secret="test", use_listings_cache=False)
    if not client.exists(BUCKET):
        client.mkdir(BUCKET)
    return client


@pytest.fixture
def s3(
    s3_endpoint: str, s3_client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3]:
    """An empty bucket, a cache folder of its own, and an environment in which the product finds the server."""
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    settings = {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1"}
    settings |= {"CONFIG_FILE": os.devnull, "EC2_METADATA_DISABLED": "true", "ENDPOINT_URL": s3_endpoint}
    for name, value in (settings | {"MAX_ATTEMPTS": "1"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(type(s3_client), "retries", 1)
    storage = S3(s3_endpoint, s3_client, monkeypatch)
    s3_client.clear_multipart_uploads(BUCKET)
    for name in storage.names():
        s3_client.rm_file(storage.url(name))
    yield storage
    storage.connect_anew()


@pytest.fixture
def proxy(s3: S3) -> Iterator[CuttingProxy]:
    """A proxy before the storage, through which the product reaches it."""
    proxy = CuttingProxy(int(s3.endpoint.rsplit(":", 1)[1]))
    s3.reached_at(proxy.url)
    yield proxy
    proxy.close()


@pytest.fixture
def no_s3fs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra `s3` were not installed."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
