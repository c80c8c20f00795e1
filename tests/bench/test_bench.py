"""Checks that each benchmark runs, at sizes too small for meaningful figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench import commands, devices, engine, loading, output, planner, serve
from tests.bench.figures import Figure, table
from tests.bench.run import BENCHMARKS

SMALL = {"height": 64, "width": 64}
TOYS: list[tuple[Callable[..., list[Figure]], dict[str, Any]]] = [
    (output.npy, {"frames": 22, "repeat": 1, **SMALL}),
    (output.mp4, {"frames": 22, "repeat": 1, **SMALL}),
    (commands.start, {"repeat": 1}),
    (commands.memory, {"short": 9, "long": 21, "repeat": 1, **SMALL}),
    (planner.planner, {"frames": 500, "repeat": 1}),
    (loading.loading, {"heads": 1, "layers": 1, "ffn": 64, "repeat": 1, "cases": loading.CASES[:1]}),
    (engine.engine, {"chunks": 2, **SMALL}),
    (engine.allocations, SMALL),
    (serve.serve, {"pairs": 1, "streams": 3, "frames": 600, **SMALL}),
]


@pytest.mark.parametrize(("measure", "sizes"), TOYS, ids=lambda value: getattr(value, "__name__", ""))
def test_runs_and_leaves_nothing(measure: Callable[..., list[Figure]], sizes: dict[str, Any], tmp_path: Path) -> None:
    figures = measure(tmp_path, **sizes)
    assert figures and all(figure.values for figure in figures)
    assert not list(tmp_path.iterdir())


def test_every_benchmark_is_tried() -> None:
    assert list(BENCHMARKS.values()) == [measure for measure, _ in TOYS]


def test_the_median_is_held_against_the_bound() -> None:
    low, high = Figure("a", "%", (10, 80, 60), at_least=70), Figure("b", "s", (1, 0.3, 0.2), at_most=0.4)
    assert (low.verdict, high.verdict) == ("missed", "ok")
    assert "60 %" in table([low, high]) and "<= 0.4" in table([low, high])


@pytest.mark.slow
def test_several_devices_give_the_bytes_of_one(tmp_path: Path) -> None:
    sizes = ("--jobs", "2", "--frames", "21", "--size", "64x64", "--pipeline", "slate", "--parts", "one,all")
    assert devices.main(["tiny", "cpu:2", *sizes, "--folder", str(tmp_path)]) == 0
