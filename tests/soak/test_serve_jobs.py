"""A few runs of the soak program; by hand it makes hundreds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.server_process import Running, running
from tests.soak.serve_client import ENDLESS, job, load
from tests.soak.serve_jobs import (
    NO_GARBAGE_COLLECTION,
    crowd,
    kill_servers,
    kill_workers,
    leave,
    reconnect,
    stall,
    terminate,
)

CHANCE = random.Random(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server"), prelude=NO_GARBAGE_COLLECTION) as started:
        load(started)
        yield started


def test_of_a_crowd_one_runs_and_the_others_are_refused_before_any_event(server: Running) -> None:
    crowd(server, 2)


def test_a_client_that_leaves_at_any_moment_frees_the_worker(server: Running) -> None:
    leave(server, 5, CHANCE, most_s=60)


def test_a_client_that_reconnects_gets_each_event_once(server: Running) -> None:
    reconnect(server, 10, CHANCE, job(ENDLESS))


def test_clients_that_read_nothing_do_not_stall_a_job(server: Running) -> None:
    stall(server, 10, job(120))


def test_a_job_goes_on_when_its_worker_is_killed(server: Running) -> None:
    kill_workers(server, 1, CHANCE, job(600), torch=False)


@pytest.mark.slow
def test_a_job_goes_on_when_its_server_is_killed(tmp_path: Path) -> None:
    kill_servers(tmp_path, 1, CHANCE, job(1200))


@pytest.mark.slow
def test_streams_end_with_an_event_when_the_server_is_told_to_leave(tmp_path: Path) -> None:
    terminate(tmp_path, 1, most_s=60)
