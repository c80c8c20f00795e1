"""A small run of the soak program; by hand it uploads 2 GiB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.server_process import Running, running
from tests.soak.serve_uploads import (
    FAULTS,
    FILE_LIMIT,
    MIB,
    fill_disk,
    limits,
    shut_down,
    try_faults,
    upload_huge,
    uploads,
    wait_until,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server"), prelude=limits()) as started:
        yield started


@pytest.mark.parametrize("name", [*FAULTS])
def test_a_faulty_upload_leaves_no_file(name: str, server: Running) -> None:
    FAULTS[name](server)
    wait_until(lambda: uploads(server) == [], "files are left")


def test_faulty_uploads_leave_no_descriptor_open(server: Running) -> None:
    try_faults(server, 1)


def test_the_memory_does_not_grow_with_the_upload(tmp_path: Path) -> None:
    with running(tmp_path, prelude=limits(200 * MIB, 60)) as server:
        upload_huge(server, 200 * MIB)


def test_a_full_disk_is_507(tmp_path: Path) -> None:
    with running(tmp_path, prelude=limits(8 * MIB) + FILE_LIMIT) as server:
        fill_disk(server)


@pytest.mark.slow
def test_a_server_that_leaves_removes_the_upload_in_flight(tmp_path: Path) -> None:
    with running(tmp_path, prelude=limits(timeout_s=60)) as server:
        shut_down(server)
