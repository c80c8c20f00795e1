"""`--ray` names a cluster that can be reached, and its workers take the GPUs, or the CPUs, that it has."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

from scope_batch.errors import UnavailableError, UsageError
from scope_batch.farm.ray_cluster import RayOptions, connected, seats

CPUS, GPUS = [{"CPU": 8.0}, {"CPU": 4.0}], [{"CPU": 8.0}, {"CPU": 64.0, "GPU": 8.0}]


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "count", "option", "threads"),
    [
        (GPUS, "auto", None, 8, "cuda", None),
        (GPUS, "cuda", 20, 20, "cuda", None),
        (GPUS, "cpu", None, 72, "cpu", 1),
        (CPUS, "auto", None, 12, "cpu", 1),
        (CPUS, "auto", 3, 3, "cpu", 4),
        (CPUS, "cpu", 2, 2, "cpu", 4),
        (CPUS, "cpu", 1, 1, "cpu", 8),
        (CPUS, "cpu", 40, 40, "cpu", 1),
        ([], "cuda", 2, 2, "cuda", None),
    ],
)
def test_workers_take_what_the_cluster_has(
    nodes: Any, device: str, workers: int | None, count: int, option: str, threads: int | None
) -> None:
    devices = seats(nodes, device, workers)
    assert {(one.option, one.cpu_threads) for one in devices} == {(option, threads)}
    assert len({one.name for one in devices}) == len(devices) == count


@pytest.mark.parametrize(("nodes", "device"), [(CPUS, "cuda"), ([], "auto"), ([{"CPU": 0.0}], "cpu")])
def test_a_cluster_without_devices_asks_for_a_number(nodes: Any, device: str) -> None:
    with pytest.raises(UnavailableError, match="--ray-workers N"):
        seats(nodes, device, None)


@pytest.mark.parametrize(
    ("address", "device", "workers", "named"),
    [("", "auto", None, "--ray"), ("local", "auto", None, "--ray local"), ("http://host:1", "auto", None, "--ray"),
     ("ray://host:10001", "auto", None, "pickle"), ("auto", "cuda:1", None, "--device cuda:1"),
     ("auto", "cpu:2", None, "--device cpu:2"), ("auto", "auto", 0, "--ray-workers 0")],
)  # fmt: skip
def test_options_that_are_not_for_a_cluster_are_refused(
    address: str, device: str, workers: int | None, named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        RayOptions(address, device, workers)


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UnavailableError, match=r"pip install 'scope-batch\[ray\]'"),
        connected(RayOptions("auto", "cpu"), {}),
    ):
        pass


@pytest.mark.parametrize("through_variable", [True, False])
def test_an_address_where_nobody_listens_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, through_variable: bool
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setitem(sys.modules, "ray", object())
        if through_variable:
            monkeypatch.setenv("RAY_ADDRESS", address)
        options = RayOptions("auto" if through_variable else address, "auto")
        with pytest.raises(UnavailableError, match=f"--ray {address}: no Ray cluster"), connected(options, {}):
            pass
