"""Runs the program in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_render.py")
PROGRAM = [sys.executable, "-m", "scope_batch"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is buffered fails later


def test_the_module_runs() -> None:
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("scope-batch 0")


@pytest.mark.parametrize("arguments", ["--help", "render --help", "schema", "init"])
def test_quick_verbs_do_not_import_torch(arguments: str) -> None:
    program = (
        "import sys; from scope_batch.__main__ import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'diffusers', 'numpy'} & set(sys.modules); sys.exit(code or str(heavy or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments.split()], capture_output=True, text=True)
    assert done.stderr.strip() == "" and done.stdout


def test_help_needs_no_job_model() -> None:
    program = "import sys; from scope_batch.__main__ import main; main(['--help']); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_closed_pipe_is_141_without_a_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, "schema"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_log_that_nobody_reads_does_not_end_the_render(job: Callable[..., str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, str(FAKE), "render", job(), "--progress-file", "p"], stderr=writer)
    os.close(writer)
    assert done.returncode == 0
    assert json.loads(Path("p").read_text().splitlines()[-1])["outcome"] == "done"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_after_the_chunk_and_all_jobs_with_it(
    job: Callable[..., str], number: signal.Signals, code: int
) -> None:
    names = [job("slow", "a.yaml", frames=1200), job("a cat", "b.yaml")]
    program = [sys.executable, str(FAKE), "render", *names, "--progress", "json"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        lines = [json.loads(process.stderr.readline())]
        while lines[-1]["event"] != "stage":
            lines.append(json.loads(process.stderr.readline()))
        process.send_signal(number)
        lines += map(json.loads, process.stderr)
    assert process.returncode == code
    assert {line["job"] for line in lines} == {"a.yaml"}
    assert [line["event"] for line in lines][-2:] == ["finished", "error"] and lines[-2]["outcome"] == "interrupted"
    assert any(line["event"] == "note" and "finishing chunk" in line["message"] for line in lines)


def test_while_the_model_loads_one_signal_is_enough(job: Callable[..., str]) -> None:
    program = [sys.executable, str(FAKE), "render", job("load"), "--progress", "json"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr and json.loads(process.stderr.readline())["event"] == "loading"
        process.send_signal(signal.SIGINT)
        events = [json.loads(line)["event"] for line in process.stderr]
    assert process.returncode == 130 and events == ["finished", "error"]


def test_a_full_disk_behind_stdout_is_74() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, "schema"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (74, "error: No space left on device\n")


@pytest.mark.parametrize(("redirect", "code"), [("2>&-", 0), (">&-", 74), (">&- 2>&-", 74)])
def test_closed_standard_streams(redirect: str, code: int) -> None:
    command = f'"{sys.executable}" -m scope_batch schema {redirect}'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr


def test_a_render_without_stderr(job: Callable[..., str]) -> None:
    command = f'"{sys.executable}" "{FAKE}" render {job()} 2>&-'
    assert subprocess.run(command, shell=True).returncode == 0
