"""The verb `bench`, on jobs that need no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import scope_batch.render.loop
from scope_batch.render.loop import render_job
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def _slate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scope_batch.render.loop, "render_job", render_job)
    (tmp_path / "job.yaml").write_text("pipeline_id: slate\nprompt: a\nnum_frames: 21\nheight: 64\nwidth: 64\n")


def document(path: str) -> Any:
    return json.loads(Path(path).read_text())


def test_figures_as_a_table_and_in_a_file(run: Run) -> None:
    ran = run("bench", "job.yaml", "--to", "npy", "-o", "a.json")
    assert ran.code == 0 and ran.errors == [] and "1st frame s" in ran.out
    assert [run["frames"] for run in document("a.json")["runs"]] == [12]
    assert sorted(path.name for path in Path().iterdir()) == ["a.json", "job.yaml"]


def test_both_paths_are_measured_in_turns(run: Run) -> None:
    ran = run("bench", "job.yaml", "--to", "npy", "--kernels", "auto,off", "--repeat", "2", "--json")
    runs = json.loads(ran.out)["runs"]
    assert [(run["round"], run["kernels"]) for run in runs] == [(0, "auto"), (0, "off"), (1, "auto"), (1, "off")]


def test_both_speeds_are_measured_in_turns(run: Run) -> None:
    ran = run("bench", "job.yaml", "--to", "npy", "--speed", "exact,high", "--repeat", "2", "-o", "a.json")
    runs = document("a.json")["runs"]
    assert [(run["round"], run["speed"]) for run in runs] == [(0, "exact"), (0, "high"), (1, "exact"), (1, "high")]
    assert "speed high is " in ran.out


def test_a_speed_that_the_device_lacks_is_refused_before_another_is_measured(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(scope_batch.render.loop, "render_job")
    ran = run("bench", "--models", "tiny", "--size", "64x64", "--device", "cpu", "--speed", "exact,high")
    assert ran.code == 69 and "speed: high needs a CUDA device" in ran.err


def test_the_job_chooses_the_speed_unless_the_option_does(run: Run) -> None:
    ran = run("bench", "job.yaml", "--to", "npy", "--set", "speed=high", "--json")
    assert [run["speed"] for run in json.loads(ran.out)["runs"]] == ["high"]


def test_a_comparison_with_an_earlier_file(run: Run) -> None:
    Path("old.json").write_text(
        json.dumps(
            {"runs": [{"pipeline": "slate", "case": "job", "width": 64, "height": 64, "kernels": "auto", "fps": 1}]}
        )
    )
    ran = run("bench", "job.yaml", "--to", "npy", "--against", "old.json")
    assert ran.code == 0 and "before" in ran.out and " 1.0 " in ran.out


@pytest.mark.parametrize(("before", "code"), [(1, 0), (1e9, 1)])
def test_a_render_that_became_slower_fails_a_check(run: Run, before: float, code: int) -> None:
    entry = {"pipeline": "slate", "case": "job", "width": 64, "height": 64, "kernels": "auto", "fps": before}
    Path("old.json").write_text(json.dumps({"runs": [entry]}))
    ran = run("bench", "job.yaml", "--to", "npy", "--against", "old.json", "--tolerance", "10")
    assert ran.code == code and ("allowed: -10 %" in ran.err) == bool(code)


def test_a_file_is_replaced_only_when_asked(run: Run) -> None:
    Path("a.json").write_text("mine")
    assert run("bench", "job.yaml", "-o", "a.json").errors == ["error: a.json exists; -y replaces it"]
    assert Path("a.json").read_text() == "mine"
    assert run("bench", "job.yaml", "--to", "npy", "-o", "a.json", "-y").code == 0 and document("a.json")["runs"]


def test_a_job_that_fails_is_reported(run: Run) -> None:
    ran = run("bench", "job.yaml", "--set", "output=x.mp4", "--to", "npy", "--models", "none-here")
    assert ran.code == 0, "the slate needs no models"
    ran = run("bench", "--models", "none-here", "--cases", "text,switch")
    assert ran.code == 69 and len(ran.errors) == 2 and "no such folder of model files" in ran.errors[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("job.yaml --cases text", "--cases belongs to the built-in cases; --set changes a job"),
        ("--tolerance 5", "--tolerance needs --against"),
        ("--random --models tiny", "--random and --models contradict each other"),
        ("--chunks 5 --warmup 5", "--warmup 5: must be less than --chunks 5"),
        ("--kernels on", "--kernels on: not known; allowed: auto, off, or several with commas"),
        ("--speed fast", "--speed fast: not known; allowed: exact, high, or several with commas"),
        ("--speed exact,high --kernels off", "--speed high needs --kernels auto"),
        ("--size 832", "--size 832: not a size; allowed: WIDTHxHEIGHT as in 832x480, or several with commas"),
        ("--device tpu", "--device tpu: not known; allowed: auto, cpu, cuda, cuda:N"),
        ("--against none.json", "--against none.json: no such file"),
        ("--against job.yaml", "job.yaml: not a readable JSON file"),
    ],
)
def test_what_contradicts_is_refused(run: Run, arguments: str, message: str) -> None:
    ran = run("bench", *arguments.split())
    assert ran.code in (2, 65, 66) and ran.errors == [f"error: {message}"]


def test_unknown_names_are_listed(run: Run) -> None:
    assert "allowed: text, switch, video" in run("bench", "--cases", "images").err
    assert "allowed: longlive, streamdiffusionv2" in run("bench", "--pipeline", "slate").err
