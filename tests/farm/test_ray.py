"""`render --ray` on a real cluster of this machine: `pip install -e '.[ray]'`, then `pytest -m ray`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from scope_batch.job import load_job
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.soak.ray_jobs import cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if "ray" not in request.config.option.markexpr:
        pytest.skip("runs under pytest -m ray")
    with cluster(tmp_path_factory.mktemp("ray"), 2, **TOKEN) as started:
        yield started


def write(folder: Path, name: str, frames: int = 33) -> str:
    values = {"pipeline_id": "slate", "prompt": name, "num_frames": frames, "height": 64, "width": 64}
    (folder / name).write_text(json.dumps(values | {"output": [f"{Path(name).stem}.npy"]}))
    return name


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scope_batch", "render", *arguments, "--ledger", "led", "--progress", "json"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=variables | environment)


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "led/jobs.jsonl").read_text().splitlines()]


def test_jobs_have_the_bytes_exit_code_and_ledger_of_one_process(address: str, tmp_path: Path) -> None:
    names = [write(tmp_path, name) for name in ("a.yaml", "b.yaml", "c.yaml")]
    _, errors = start(tmp_path, *names, "gone.yaml", "--ray", address, **TOKEN).communicate(timeout=300)
    assert "gone.yaml: no such job file" in errors and len(ledger(tmp_path)) == 3
    assert {line["host"] for line in ledger(tmp_path) if line["outcome"] == "done"} == {os.uname().nodename}
    for name in names:
        alone = tmp_path / "alone" / f"{name}.npy"
        render_job(load_job(tmp_path / name), options=RenderOptions(outputs=(str(alone),)))
        assert (tmp_path / f"{Path(name).stem}.npy").read_bytes() == alone.read_bytes()


def test_a_killed_actor_is_one_line_and_its_job_goes_on(address: str, tmp_path: Path) -> None:
    name = write(tmp_path, "a.yaml", 3_000)
    with start(tmp_path, name, "--ray", address, "--resume", "--checkpoint-every", "1", **TOKEN) as started:
        assert started.stderr is not None and started.stdout is not None
        events = []
        for line in started.stderr:
            events.append(json.loads(line))
            if events[-1]["event"] == "chunk" and events[-1]["chunk"] == 5:
                break
        pid = next(int(event["worker"].split()[1]) for event in events if event["event"] == "assigned")
        psutil.Process(pid).parent().kill()  # type: ignore[union-attr]
        rest, out = started.stderr.read(), started.stdout.read()
    assert started.returncode == 0 and out == "", rest
    lost, done = ledger(tmp_path)
    assert lost["outcome"] == "lost" and "was lost" in lost["message"] and done["resumed_chunk"]


def test_sigterm_keeps_what_there_is(address: str, tmp_path: Path) -> None:
    name = write(tmp_path, "a.yaml", 6_000)
    with start(tmp_path, name, "--ray", address, "--resume", **TOKEN) as started:
        assert started.stderr is not None
        for line in started.stderr:
            if '"chunk"' in line and json.loads(line).get("chunk", 0) >= 3:
                break
        started.send_signal(signal.SIGTERM)
        rest = started.stderr.read()
    assert started.returncode == 143 and "SIGTERM received" not in rest, rest
    assert ledger(tmp_path)[-1]["outcome"] == "stopped" and [*tmp_path.glob(".*.work")]


@pytest.mark.parametrize("environment", [{"RAY_AUTH_MODE": "disabled"}, {**TOKEN, "RAY_AUTH_TOKEN": "f" * 32}])
def test_without_the_right_token_one_line_names_it(address: str, tmp_path: Path, environment: dict[str, str]) -> None:
    started = start(tmp_path, write(tmp_path, "a.yaml"), "--ray", address, **environment)
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 69 and len(errors.splitlines()) == 1 and "RAY_AUTH_TOKEN" in errors, errors
