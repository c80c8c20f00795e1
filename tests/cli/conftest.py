"""Fixtures that run the program in this process, with a fake render."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import scope_batch.render.loop
from scope_batch.__main__ import main

FAKE = Path(__file__).with_name("fake_render.py")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # set by the terminal or worker that runs the tests

    def ran(*arguments: str) -> Ran:
        capfd.readouterr()
        code = main(arguments)
        return Ran(code, *capfd.readouterr())

    return ran


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Replaces the render by a fake; returns the fake's module."""
    spec = importlib.util.spec_from_file_location("fake_render", FAKE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(scope_batch.render.loop, "render_job", module.render_job)
    return module


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., str]:
    """Writes a job of 36 frames; the prompt tells the fake what to do."""

    def write(prompt: str = "a cat", name: str = "job.yaml", frames: int = 36) -> str:
        (tmp_path / name).write_text(f"pipeline_id: slate\nprompt: {prompt}\nnum_frames: {frames}\n")
        return name

    return write
