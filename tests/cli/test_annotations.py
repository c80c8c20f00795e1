from __future__ import annotations

import pytest

from scope_batch.cli.annotations import annotation
from tests.cli.conftest import Run

ACTIONS = {"GITHUB_ACTIONS": "true"}


@pytest.mark.parametrize(
    ("line", "file", "command"),
    [
        ("jobs/a.yaml:3:5: fps: must be a number", "", "::error file=jobs/a.yaml,line=3,col=5::fps: must be a number"),
        ("a.mp4: no such file", "", "::error::a.mp4: no such file"),
        ("frame 3 differs", "a,b.yaml", "::error file=a%2Cb.yaml::frame 3 differs"),
        ("100 %\nof it", "", "::error::100 %25%0Aof it"),
    ],
)
def test_a_command_is_escaped_and_names_the_place(line: str, file: str, command: str) -> None:
    assert annotation(line, ACTIONS, file=file) == command


def test_elsewhere_there_are_none() -> None:
    assert annotation("a.yaml:1:1: x", {}) is None


def test_a_fault_of_a_job_stands_beside_its_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    ran = run("plan", "gone.yaml")
    assert ran.err.splitlines() == ["error: gone.yaml: no such job file", "::error::gone.yaml: no such job file"]
