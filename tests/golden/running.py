"""Runs the program in this process, with real renders; `conftest.py` of each room takes the fixture over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from scope_batch.__main__ import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]
SLATE = "pipeline_id: slate\nprompt: a cat\nnum_frames: 33\nheight: 64\nwidth: 112\n"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder with the job `job.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(SLATE)

    def ran(*arguments: str) -> Ran:
        capfd.readouterr()
        code = main(arguments)
        return Ran(code, *capfd.readouterr())

    return ran
