"""The files of examples/deploy start the server with options that it knows, and with few rights."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from scope_batch.cli.app import app

DEPLOY = Path(__file__).parents[1] / "examples" / "deploy"
UNIT = (DEPLOY / "scope-batch.service").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
MOST_EXPOSED = 2.5
"""Points of `systemd-analyze security`, from 0 (confined) to 10; a unit without any of these settings has 9.6."""


def of_unit(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def of_image(name: str) -> str:
    (value,) = re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)
    return str(value)


def parsed(arguments: list[str]) -> dict[str, object]:
    """Return the values of the options as the program reads them. Raises UsageError for any that it does not know."""
    command: Any = vars(typer.main.get_command(app))["commands"]["serve"]
    return dict(command.make_context("serve", arguments).params)


def test_the_unit_starts_the_server_with_options_that_it_knows() -> None:
    (line,) = of_unit("ExecStart")
    program, verb, *options = shlex.split(line)
    assert (Path(program).name, verb) == ("scope-batch", "serve")
    values = parsed(options)
    assert values["host"] == "127.0.0.1"
    writable = [f"/var/lib/{folder}" for folder in of_unit("StateDirectory")[0].split()]
    assert {str(values["state_dir"]), str(values["assets_root"])} <= set(writable)


def test_the_unit_waits_for_a_chunk_and_leaves_the_worker_to_the_server() -> None:
    assert of_unit("KillMode") == ["mixed"]
    assert int(of_unit("TimeoutStopSec")[0]) >= 60


def test_the_image_starts_the_server_with_options_that_it_knows() -> None:
    assert json.loads(of_image("ENTRYPOINT")) == ["scope-batch", "serve"]
    values = parsed(json.loads(of_image("CMD")))
    assert str(values["port"]) == of_image("EXPOSE")
    assert f"http://127.0.0.1:{values['port']}/health" in DOCKERFILE
    assert all(str(values[name]).startswith(of_image("VOLUME")) for name in ("state_dir", "assets_root"))


def test_the_image_has_no_root_and_no_token() -> None:
    assert of_image("USER").split(":")[0] not in ("root", "0")
    assert DOCKERFILE.rindex("\nUSER ") < DOCKERFILE.index("\nENTRYPOINT ")
    assert not re.search(r"^(ENV|ARG|CMD|ENTRYPOINT).*token", DOCKERFILE, re.MULTILINE | re.IGNORECASE)


def test_the_image_is_built_from_files_that_are_there() -> None:
    *sources, _ = " ".join(re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)).replace("/src/", "").split()
    allowed = [
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for source in {name for name in sources if not name.startswith("/")}:
        assert (DEPLOY.parents[1] / source).exists()
        assert source in allowed


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_reads_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    unit = tmp_path / "scope-batch.service"
    unit.write_text(UNIT.replace(of_unit("ExecStart")[0].split()[0], "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert [line for line in verified.stderr.splitlines() if unit.name in line] == []
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED * 10:.0f}", unit],
        capture_output=True,
        text=True,
    )
    assert rated.returncode == 0, rated.stdout[-200:] + rated.stderr


def test_hadolint_finds_no_fault() -> None:
    done = subprocess.run(["hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
