"""The example of a CI workflow does what it says, on this kind of CPU and on another one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scope_batch.__main__ import main

EXAMPLE = Path(__file__).parents[1] / "examples" / "ci"
STEPS = yaml.safe_load((EXAMPLE / "workflow.yml").read_text())["jobs"]["verify"]["steps"]
COMMANDS = [shlex.split(step["run"])[1:] for step in STEPS if step.get("run", "").startswith("scope-batch ")]


pytestmark = pytest.mark.usefixtures("trained_set")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of the example."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_every_step_of_the_workflow_passes(folder: Path) -> None:
    assert [command[:2] for command in COMMANDS] == [
        ["plan", "--strict"],
        ["golden", "self-test"],
        ["golden", "verify"],
    ]
    assert [main(command) for command in COMMANDS] == [0, 0, 0]
    assert (folder / "golden-report" / "junit.xml").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_change_fails_the_last_step() -> None:
    assert main([*COMMANDS[-1], "--set", "seed=43"]) == 1
    assert Path("golden-report/balloon.png").is_file()


@pytest.mark.slow
def test_the_golden_holds_for_another_kind_of_cpu(folder: Path) -> None:
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    command = [sys.executable, "-m", "scope_batch", *COMMANDS[-1]]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("ok ")


def test_the_example_is_small_and_names_no_folder_of_the_machine_that_blessed_it() -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100_000
    assert not any(b'"/' in path.read_bytes() for path in EXAMPLE.rglob("golden.json"))
