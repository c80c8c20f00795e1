"""`--device` names one device, several, or shares of the cores; anything else is one clear line."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest

from scope_batch.errors import NoDeviceError, UsageError
from scope_batch.farm.devices import Device, parse_devices


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:3"])
def test_one_device_is_itself(name: str) -> None:
    assert parse_devices(name) == (Device(name, name),)


def test_several_are_in_the_order_of_the_text() -> None:
    assert [device.option for device in parse_devices("cuda:1,cuda:0,cpu")] == ["cuda:1", "cuda:0", "cpu"]


def test_shares_of_the_cpu_split_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(9)))
    assert parse_devices("cpu:2") == (Device("cpu 1/2", "cpu", 4), Device("cpu 2/2", "cpu", 4))
    assert {device.cpu_threads for device in parse_devices("cpu:20")} == {1}


@pytest.mark.parametrize(
    "text", ["", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:0,", "cuda:0,cuda:0", "cuda,cuda:0", "cpu,cpu:2",
             "auto,cuda:1", "all,cpu", "cuda:0;cuda:1", "cpu:99999"]
)  # fmt: skip
def test_anything_else_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        parse_devices(text)


@pytest.mark.parametrize(("count", "names"), [("2\n", ["cuda:0", "cuda:1"]), ("1\n", ["cuda:0"])])
def test_all_are_those_that_torch_sees(monkeypatch: pytest.MonkeyPatch, count: str, names: list[str]) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout=count))
    assert [device.name for device in parse_devices("all")] == names


def test_all_of_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout="0\n"))
    with pytest.raises(NoDeviceError, match="no CUDA devices"):
        parse_devices("all")
