"""S3 storage for tests, seen through its own client: the small server, or a real one that the environment names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ENDPOINT_VARIABLE = "SCOPE_BATCH_TEST_S3"
"""Address of an S3 server (MinIO, moto ...) to test against in place of the small one."""
BUCKET = "films"


@dataclass
class S3:
    """One bucket, empty at the beginning of a test. `client` does not go through what is tested."""

    endpoint: str
    client: Any
    patch: pytest.MonkeyPatch

    def url(self, key: str) -> str:
        return f"s3://{BUCKET}/{key}"

    def put(self, key: str, data: bytes) -> str:
        self.client.pipe_file(self.url(key), data)
        return self.url(key)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.cat_file(self.url(key))
        return data

    def names(self) -> set[str]:
        self.client.invalidate_cache()
        return {name.split("/", 1)[1] for name in self.client.find(BUCKET)}

    def unfinished(self) -> int:
        return len(self.client.list_multipart_uploads(BUCKET))

    def reached_at(self, endpoint: str) -> None:
        """Have the product reach the storage at another address, such as that of a proxy."""
        self.patch.setenv("AWS_ENDPOINT_URL", endpoint)
        self.connect_anew()

    def connect_anew(self) -> None:
        """Forget the product's connection, which takes the environment as it was when it was made."""
        kept = type(self.client)._cache
        for name in [name for name, store in kept.items() if store is not self.client]:
            del kept[name]


def endpoint_of_environment() -> str | None:
    return os.environ.get(ENDPOINT_VARIABLE)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
