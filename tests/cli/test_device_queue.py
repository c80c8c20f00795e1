"""`render --device A,B`: the rules of one process hold for several."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from scope_batch.core.failpoint import VARIABLE
from scope_batch.job import load_job
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions

SEVERAL = ("--device", "cpu:2")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))


def write(name: str, frames: int = 33, **fields: Any) -> str:
    values = {"pipeline_id": "slate", "prompt": name, "num_frames": frames, "height": 64, "width": 64}
    Path(name).write_text(json.dumps(values | {"output": [f"{Path(name).stem}.npy"]} | fields))
    return name


def alone(name: str) -> bytes:
    """The bytes that this process renders."""
    render_job(load_job(name), options=RenderOptions(outputs=(f"alone/{name}.npy",)))
    return Path(f"alone/{name}.npy").read_bytes()


def ledger(**wanted: object) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in Path("led/jobs.jsonl").read_text().splitlines()]
    return [line for line in lines if all(line[key] == value for key, value in wanted.items())]


def test_several_devices_give_the_bytes_lines_and_exit_code_of_one(run):
    names = [run and write(f"{stem}.yaml", frames) for stem, frames in (("a", 33), ("b", 57), ("c", 9))]
    bad = write("d.yaml", input_path="gone.mp4")
    ran = run("render", *names, bad, *SEVERAL, "--ledger", "led", "--progress-file", "lines")
    assert ran.code == 66 and ran.out == "" and len(ran.errors) == 1
    assert [Path(f"{name[0]}.npy").read_bytes() for name in names] == [alone(name) for name in names]
    *_, a, b, c, d, last = ran.err.splitlines()
    assert [line.split(":")[0] for line in (a, b, c, d)] == [
        "a.yaml  done", "b.yaml  done", "c.yaml  done", "d.yaml  failed (66)",
    ] and last == "3 of 4 jobs rendered, 1 failed"  # fmt: skip
    assert Counter(line["outcome"] for line in ledger()) == {"done": 3, "failed": 1}
    lines = [json.loads(line) for line in Path("lines").read_text().splitlines()]
    assert {line["job_number"] for line in lines if line["event"] == "chunk"} == {1, 2, 3}
    assert {line["device"] for line in lines if line["event"] == "finished" and "device" in line} <= {
        "cpu 1/2",
        "cpu 2/2",
    }
    again = run("render", *names, *SEVERAL)
    assert again.code == 0 and again.err.splitlines()[-1] == "0 of 3 jobs rendered, 3 skipped"


def test_a_job_whose_worker_is_killed_goes_on_from_its_stored_chunks(run, monkeypatch):
    cut = {"chunk": 2, "reset_cache": True, "seed": 5000}  # needs no state, which might not be saved yet
    name = write("a.yaml", 54, chunk_specs=[cut])  # 5 chunks
    monkeypatch.setenv(VARIABLE, "chunk-synced:kill:4")
    ran = run("render", name, *SEVERAL, "--resume", "--ledger", "led")
    assert ran.code == 0, ran.err
    lost, done = ledger()
    assert (lost["outcome"], lost["exit_code"], done["outcome"]) == ("lost", 75, "done")
    assert done["resumed_chunk"] >= 2 and "SIGKILL" in lost["message"] and lost["device"] != done["device"]
    monkeypatch.delenv(VARIABLE)
    assert Path("a.npy").read_bytes() == alone(name)


def test_a_job_that_kills_three_workers_fails_with_75_and_its_reason(run, monkeypatch):
    monkeypatch.setenv(VARIABLE, "chunk-written:kill")
    ran = run("render", write("a.yaml"), *SEVERAL)
    assert ran.code == 75 and len(ran.errors) == 1
    assert "given up after 3 attempts; the last: the worker process was killed by SIGKILL" in ran.errors[0]
    assert not Path("a.npy").exists()


def test_standard_output_takes_frames_from_one_device_only(run):
    ran = run("render", write("a.yaml"), *SEVERAL, "-o", "-")
    assert ran.code == 2 and ran.out == "" and "standard output" in ran.errors[0]


@pytest.mark.slow
def test_sigterm_keeps_what_there_is_and_the_same_command_renders_only_the_rest(run, tmp_path):
    names = [run and write(f"{stem}.yaml", frames) for stem, frames in (("a", 1200), ("b", 1200), ("c", 33))]
    command = [sys.executable, "-m", "scope_batch", "render", *names, *SEVERAL, "--resume", "--progress", "json"]
    with subprocess.Popen([*command, "--ledger", "led"], stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        for line in started.stderr:
            event = json.loads(line)
            if event["event"] == "chunk" and event["chunk"] >= 3 and event["job"].endswith("a.yaml"):
                break
        started.send_signal(signal.SIGTERM)
        rest = started.stderr.read()
    assert started.returncode == 143, rest
    assert {line["exit_code"] for line in ledger()} <= {143} and not Path("c.npy").exists()
    assert run("render", *names, *SEVERAL, "--resume", "--ledger", "led").code == 0
    assert [bool(line["resumed_chunk"]) for line in ledger(outcome="done", job="a.yaml")] == [True]
    assert Path("a.npy").read_bytes() == alone("a.yaml")
    assert sorted(path.name for path in tmp_path.glob(".*.work")) == []


def test_the_time_limit_ends_all_devices_like_one(run):
    names = [run and write(f"{stem}.yaml", 12_000) for stem in "abc"]
    ran = run("render", *names, *SEVERAL, "--timeout", "4s", "--ledger", "led")
    assert ran.code == 124 and len(ran.errors) == 2, ran.err
    assert {line["exit_code"] for line in ledger()} == {124} and ran.err.splitlines()[-2].endswith("not started")


def test_a_bug_in_a_worker_leaves_its_traceback_in_a_file(run, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "all-generated:raise")
    ran = run("render", write("a.yaml"), *SEVERAL)
    (trace,) = (tmp_path / "cache" / "tracebacks").iterdir()
    assert ran.code == 70 and str(trace) in ran.errors[0] and 'failpoint("all-generated")' in trace.read_text()


def test_fail_fast_finishes_what_is_in_work_and_starts_no_more(run):
    bad = write("a.yaml", 9, input_path="gone.mp4")
    ran = run("render", bad, write("b.yaml"), *SEVERAL, "--fail-fast")
    assert ran.code == 66 and ran.err.splitlines()[-2:] == [
        "b.yaml  not started",
        "0 of 2 jobs rendered, 1 failed, 1 not started",
    ]


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once(run):
    names = [run and write(f"{stem}.yaml", 60_000) for stem in "ab"]
    command = [sys.executable, "-m", "scope_batch", "render", *names, *SEVERAL, "--progress", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        for sign in ('"event":"chunk"', "finishing chunk"):
            next((line for line in started.stderr if sign in line), None)  # None: the first signal has ended it already
            started.send_signal(signal.SIGINT)
        rest = started.stderr.read()
    assert started.returncode == 130, rest


@pytest.mark.slow
def test_workers_end_with_a_program_that_is_killed(run):
    names = [run and write(f"{stem}.yaml", 60_000) for stem in "ab"]
    command = [sys.executable, "-m", "scope_batch", "render", *names, *SEVERAL, "--progress", "json"]
    workers: list[psutil.Process] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        for line in started.stderr:
            event = json.loads(line)
            if event["event"] == "assigned":
                workers.append(psutil.Process(int(event["worker"].split()[-1])))
            if event["event"] == "chunk" and len(workers) == 2:
                break
        started.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
