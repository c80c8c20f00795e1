"""Several jobs in one call: after a kill the same command goes on at the job and the chunk where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scope_batch.__main__ import main
from tests.render.helpers import PROGRAM, SLATE, names_in, write_job

JOBS = ["a.yaml", "b.yaml", "c.yaml"]
COMMAND = ["render", *JOBS, "-o", "{job}.npy", "--checkpoint-every", "1"]
CHUNKS = 5
STORED = 3
"""Chunks of the second job that are committed when the process is killed."""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(JOBS):
        write_job(Path(name), SLATE, num_frames=12 * CHUNKS - 3, seed=seed)
    return tmp_path


def test_a_killed_batch_goes_on_at_the_job_and_chunk_where_it_was(
    jobs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    point = f"manifest-chunk-done:kill:{CHUNKS + STORED}"
    killed = subprocess.run(
        [*PROGRAM, *COMMAND], env={**os.environ, "SCOPE_BATCH_FAILPOINT": point}, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert names_in(jobs) == {*JOBS, "a.npy", "a.npy.json", ".b.npy.work"}
    capfd.readouterr()
    assert main([*COMMAND, "--progress", "json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert ends(lines) == [("a.yaml", "skipped"), ("b.yaml", "done"), ("c.yaml", "done")]
    (resumed,) = [line for line in lines if line["event"] == "resumed"]
    assert (resumed["job"], resumed["chunk"] + resumed["again"]) == ("b.yaml", STORED)
    assert made(lines, "b.yaml") == list(range(resumed["chunk"], CHUNKS)) and made(lines, "c.yaml") == [*range(CHUNKS)]
    assert names_in(jobs) == {*JOBS, *(f"{name}.npy{end}" for name in "abc" for end in ("", ".json"))}
    assert main(["render", "b.yaml", "-o", "whole.npy", "--checkpoint-every", "0"]) == 0
    assert Path("whole.npy").read_bytes() == Path("b.npy").read_bytes()


@pytest.mark.usefixtures("jobs")
def test_a_killed_sweep_renders_only_what_is_missing(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["render", "a.yaml", "--sweep", "seed=1,1001,2001", "-o", "{seed}.npy"]
    environment = {**os.environ, "SCOPE_BATCH_FAILPOINT": f"chunk-generated:kill:{CHUNKS + STORED}"}
    killed = subprocess.run([*PROGRAM, *command], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL and Path("1.npy").exists() and not Path("1001.npy").exists()
    first = Path("1.npy").stat().st_mtime_ns
    assert main([*command, "--sheet", "sheet.png", "--progress", "json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [outcome for _, outcome in ends(lines)] == ["skipped", "done", "done"]
    assert Path("1.npy").stat().st_mtime_ns == first and Path("sheet.png").exists()
    alone = ["render", "a.yaml", "--set", "seed=1001", "-o", "alone.npy", "-q"]
    assert main(alone) == 0 and Path("alone.npy").read_bytes() == Path("1001.npy").read_bytes()


def test_the_last_lines_tell_what_became_of_each_job(jobs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "b.yaml", "-o", "b.npy"]) == 0
    write_job(jobs / "c.yaml", SLATE, num_frames=12, seed=1)
    (jobs / "c.npy").write_text("mine")
    capfd.readouterr()
    assert main([*COMMAND, "--progress", "plain"]) == 73
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("job ")] == [f"job {n} of 3: {JOBS[n - 1]}" for n in (1, 2, 3)]
    first, second, third, counts = lines[-4:]
    assert first.startswith("a.yaml  done: 57 frames in ") and second.startswith("b.yaml  skipped: every output exists")
    assert third.startswith("c.yaml  failed (73): c.npy: exists; replace it with --overwrite")
    assert counts == "1 of 3 jobs rendered, 1 skipped, 1 failed"


def ends(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["job"], line["outcome"]) for line in lines if line["event"] == "finished"]


def made(lines: list[dict[str, Any]], job: str) -> list[int]:
    return [line["chunk"] for line in lines if line["event"] == "chunk" and line["job"] == job]
