"""Jobs go on and end with the right bytes, whichever process is killed meanwhile."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil
import pytest

from scope_batch.core.failpoint import VARIABLE
from tests.serve.server_process import PATIENCE_S, Running, command, running
from tests.serve.test_server import REQUEST, download, events_of, expected, load

pytestmark = pytest.mark.slow
FRAMES = 400
ENOUGH = 12
"""When so many chunks are made, the first of them are committed."""


def test_a_job_goes_on_when_its_worker_is_killed(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        load(server)
        with server.http.stream("POST", "/api/v1/batch", json={**REQUEST, "num_frames": FRAMES}) as answer:
            told = []
            for name, data in events_of(answer.iter_lines()):
                told.append((name, data))
                if name == "progress" and data["chunk"] == ENOUGH:
                    worker = server.workers[0]
                    worker.kill()
        assert [data["chunk"] for name, data in told if name == "progress"] == [
            *range(1, told[0][1]["total_chunks"] + 1)
        ]
        assert [name for name, _ in told if name != "progress"] == ["started", "complete"]
        assert worker not in server.workers
        frames = download(server, told[-1][1]["output_path"])
    assert np.array_equal(frames, expected(tmp_path, num_frames=FRAMES))


def test_workers_give_way_to_the_server(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        load(server)
        assert server.workers[0].nice() == min(psutil.Process(server.process.pid).nice() + 5, 19)


def test_a_job_that_kills_every_worker_is_given_up_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "chunk-generated:kill:1")
    with running(tmp_path) as server:
        load(server)
        with server.http.stream("POST", "/api/v1/batch", json=REQUEST) as answer:
            events = [*events_of(answer.iter_lines())]
        assert [name for name, _ in events] == ["started", "error"]
        assert events[-1][1]["error"] == (
            "given up after 3 attempts; the last: the worker process was killed by SIGKILL"
        )
        assert server.http.get("/health").json()["status"] == "healthy"


def files_of(folder: Path) -> dict[str, str]:
    """Every file below a folder, with its content."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def leave_a_job(server: Running) -> str:
    """Kill a server in the middle of a job, and wait until all its processes have ended; returns the job."""
    load(server)
    with server.http.stream("POST", "/api/v1/batch", json={**REQUEST, "num_frames": FRAMES}) as answer:
        chunks = (data["chunk"] for name, data in events_of(answer.iter_lines()) if name == "progress")
        assert any(chunk == ENOUGH for chunk in chunks)
        children = psutil.Process(server.process.pid).children(recursive=True)
        server.process.kill()
    server.process.wait(PATIENCE_S)
    assert psutil.wait_procs(children, PATIENCE_S)[1] == []
    return str(answer.headers["X-Job-Id"])


def test_a_killed_server_goes_on_after_a_restart_and_touches_no_other(tmp_path: Path) -> None:
    with running(tmp_path / "other") as other:
        leave_a_job(other)
    before = files_of(tmp_path / "other")
    with running(tmp_path / "one") as first:
        job = leave_a_job(first)
    with running(tmp_path / "one") as second:
        with second.http.stream("GET", f"/api/v1/batch/{job}/events") as answer:
            told = [*events_of(answer.iter_lines())]
        chunks = [data["chunk"] for name, data in told if name == "progress"]
        assert chunks == [*range(1, told[0][1]["total_chunks"] + 1)]
        frames = download(second, told[-1][1]["output_path"])
    assert np.array_equal(frames, expected(tmp_path, num_frames=FRAMES))
    assert files_of(tmp_path / "other") == before


def test_a_second_server_on_the_same_state_directory_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        second = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=PATIENCE_S)
        assert second.returncode == 75
        assert "another server uses this state directory" in second.stderr
        assert server.http.get("/health").is_success
