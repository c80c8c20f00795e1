from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from scope_batch.job import load_job
from tests.cli.conftest import Run
from tests.importing.helpers import block, timeline

EXPORT = timeline(block(0, 2, "a"), block(2, 4, "b"), seed=None)


@pytest.fixture
def export(tmp_path: Path) -> str:
    (tmp_path / "panda.json").write_text(json.dumps(EXPORT))
    return "panda.json"


def test_the_job_goes_to_standard_output_and_the_rest_to_standard_error(run: Run, export: str) -> None:
    ran = run("import", export)
    assert ran.code == 0 and ran.err == "assumed: seed (absent): 42\n"
    Path("job.yaml").write_text(ran.out)
    assert load_job("job.yaml").num_frames == 64


def test_the_rate_and_the_file_are_options(run: Run, export: str) -> None:
    assert run("import", export, "--fps", "30000/1001", "-o", "job.yaml").out == ""
    assert load_job("job.yaml").num_frames == 120


def test_a_file_that_exists_is_kept(run: Run, export: str) -> None:
    Path("job.yaml").write_text("prompt: mine\n")
    ran = run("import", export, "-o", "job.yaml")
    assert ran.code == 73 and ran.errors == ["error: job.yaml exists; -y replaces it"]
    assert run("import", export, "-o", "job.yaml", "-y").code == 0


def test_the_export_may_come_through_a_pipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(EXPORT).encode())))
    assert "from stdin, at 16 frames per second" in run("import", "-").out


def test_a_file_that_is_not_an_export_is_code_65(run: Run) -> None:
    Path("x.json").write_text("{}")
    ran = run("import", "x.json", "-o", "job.yaml")
    assert ran.code == 65 and len(ran.err.splitlines()) == 1 and not Path("job.yaml").exists()


def test_a_missing_export_is_code_66(run: Run) -> None:
    ran = run("import", "x.json")
    assert (ran.code, ran.errors) == (66, ["error: x.json: no such file"])


@pytest.mark.parametrize("rate", ["0", "fast", "-1", "1e9"])
def test_an_invalid_rate_is_a_usage_error(run: Run, export: str, rate: str) -> None:
    ran = run("import", export, f"--fps={rate}")
    assert ran.code == 2 and len(ran.errors) == 1 and "--fps" in ran.err
