"""A server in a process of its own, used as the protocol's clients use it. Its pipeline draws the plan."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import uvicorn

from scope_batch.errors import MissingInputError, TemporaryError
from scope_batch.job import parse_job
from scope_batch.jobs.supervisor import Supervisor
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from scope_batch.serve.server import ASSETS_VARIABLE, LORA_VARIABLE, ServerSettings, listening, serve
from tests.serve.server_process import PATIENCE_S, START, Running, running

SIZE = {"height": 64, "width": 64}
REQUEST: dict[str, Any] = {
    "pipeline_id": "slate", "prompt": "a cat", "num_frames": 30, "seed": 42, "noise_scale": 0.7, "manage_cache": False,
    "prompt_interpolation_method": "linear", "vace_context_scale": 1.0, **SIZE,
}  # fmt: skip
CLIP = np.random.default_rng(3).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
ENDLESS = 10_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as started:
        load(started)
        yield started


def load(server: Running) -> None:
    answer = server.http.post("/api/v1/pipeline/load", json={"pipeline_ids": ["slate"], "load_params": SIZE})
    assert answer.is_success
    while (status := server.http.get("/api/v1/pipeline/status").json()["status"]) == "loading":
        pass
    assert status == "loaded"


def events_of(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Read events as the protocol's clients do: an event line, then a data line."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def render(server: Running, **fields: Any) -> list[tuple[str, Any]]:
    with server.http.stream("POST", "/api/v1/batch", json={**REQUEST, **fields}) as answer:
        assert answer.status_code == 200, answer.read()
        return [*events_of(answer.iter_lines())]


def download(server: Running, handle: str) -> np.ndarray[Any, Any]:
    answer = server.http.get("/api/v1/batch/download", params={"path": handle})
    shape = [int(answer.headers[f"X-Video-{name}"]) for name in ("Frames", "Height", "Width", "Channels")]
    assert struct.unpack("<5I", answer.content[:20]) == (4, *shape)
    return np.frombuffer(answer.content[20:], np.uint8).reshape(shape)


def expected(folder: Path, **fields: Any) -> np.ndarray[Any, Any]:
    """The frames of the same job, rendered without a server."""
    output = folder / "expected.npy"
    body = {name: value for name, value in REQUEST.items() if name != "noise_scale"}
    job = parse_job({**body, "chunk_grid": 12, **fields})
    render_job(job, "job", RenderOptions(outputs=(str(output),), overwrite=True))
    frames: np.ndarray[Any, Any] = np.load(output)
    return frames


def test_text_to_video_gives_the_same_frames_as_the_command_line(server: Running, tmp_path: Path) -> None:
    specs = [{"chunk": 1, "text": "a dog"}]
    events = render(server, chunk_specs=specs)
    assert [name for name, _ in events] == ["started", "progress", "progress", "progress", "complete"]
    assert [data["chunk"] for name, data in events if name == "progress"] == [1, 2, 3]
    assert all(data["fps"] > 0 and data["total_chunks"] == 3 for name, data in events if name == "progress")
    complete = events[-1][1]
    assert complete["video_shape"] == [30, 64, 64, 3]
    assert np.array_equal(download(server, complete["output_path"]), expected(tmp_path, chunk_specs=specs))


def test_video_to_video_gives_the_same_frames_as_the_command_line(server: Running, tmp_path: Path) -> None:
    headers = {
        f"X-Video-{name}": str(size) for name, size in zip(("Frames", "Height", "Width"), CLIP.shape, strict=False)
    }
    answer = server.http.post(
        "/api/v1/batch/upload", content=CLIP.tobytes(), headers={**headers, "Content-Type": "application/octet-stream"}
    )
    np.save(tmp_path / "clip.npy", CLIP)
    events = render(server, input_path=answer.json()["input_path"])
    frames = download(server, events[-1][1]["output_path"])
    assert np.array_equal(frames, expected(tmp_path, input_path=str(tmp_path / "clip.npy")))


def test_control_in_blind_slices_of_twelve_frames(server: Running, tmp_path: Path) -> None:
    """The draft's client slices its arrays by 12 frames; the last slice is shorter, and then there are none."""
    frames = np.random.default_rng(4).uniform(-1, 1, (1, 3, 20, 64, 64)).astype("<f4")
    masks = np.ones((1, 1, 20, 64, 64), "<f4")
    blob, specs = b"", []
    for chunk in range(3):
        entry: dict[str, Any] = {"chunk": chunk, "reset_cache": False, "vace_temporally_locked": True}
        for name, array in (("vace_frames", frames), ("vace_masks", masks)):
            part = array[:, :, chunk * 12 : chunk * 12 + 12]
            entry |= {f"{name}_shape": [*part.shape], f"{name}_offset": len(blob)}
            blob += part.tobytes()
        specs.append(entry)
    answer = server.http.post("/api/v1/batch/upload-data", content=blob).json()
    assert answer["size_bytes"] == len(blob)
    events = render(server, chunk_specs=specs, data_blob_path=answer["data_blob_path"])
    (tmp_path / "blob.bin").write_bytes(blob)
    same = expected(tmp_path, chunk_specs=specs[:2], data_blob_path=str(tmp_path / "blob.bin"))
    assert np.array_equal(download(server, events[-1][1]["output_path"]), same)


def test_the_video_for_people(server: Running) -> None:
    handle = render(server)[-1][1]["output_path"]
    answer = server.http.get("/api/v1/generate/download", params={"path": handle, "format": "mp4"})
    assert (answer.headers["content-type"], answer.content[4:8]) == ("video/mp4", b"ftyp")


def test_cancel_ends_with_one_cancelled_and_a_partial_video(server: Running) -> None:
    with server.http.stream("POST", "/api/v1/batch", json={**REQUEST, "num_frames": ENDLESS}) as answer:
        events = []
        for name, data in events_of(answer.iter_lines()):
            events.append((name, data))
            if name == "progress" and data["chunk"] == 2:
                assert server.http.post("/api/v1/batch", json=REQUEST).status_code == 409
                assert server.http.post("/api/v1/generate/cancel").json() == {"status": "cancelling"}
    assert [name for name, _ in events if name not in ("started", "progress", "warning")] == ["cancelled"]
    last = events[-1][1]
    assert len(download(server, last["output_path"])) == last["frames_completed"] > 0


def test_a_client_that_leaves_frees_the_server(server: Running) -> None:
    with server.http.stream("POST", "/api/v1/batch", json={**REQUEST, "num_frames": ENDLESS}) as answer:
        job = answer.headers["X-Job-Id"]
        next(line for line in answer.iter_lines() if line == "event: progress")
    with server.http.stream("GET", f"/api/v1/batch/{job}/events") as answer:
        names = [name for name, _ in events_of(answer.iter_lines())]
    assert names[-1] == "cancelled"
    assert render(server)[-1][0] == "complete"


def test_a_job_that_cannot_be_rendered_is_refused_and_the_next_one_runs(server: Running) -> None:
    bad = {**REQUEST, "chunk_specs": [{"chunk": 0, "first_frame_image": "none.png"}]}
    answer = server.http.post("/api/v1/batch", json=bad)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "none.png" in answer.json()["detail"]
    assert render(server)[-1][0] == "complete"


def started(server: Running, **fields: Any) -> tuple[Iterator[tuple[str, Any]], dict[str, Any]]:
    """Start a job; returns its further events and the first one."""
    answer = server.http.send(
        server.http.build_request("POST", "/api/v1/batch", json={**REQUEST, **fields}), stream=True
    )
    assert answer.status_code == 200, answer.read()
    events = events_of(answer.iter_lines())
    name, data = next(events)
    assert name == "started"
    return events, data


def test_jobs_wait_for_two_devices(tmp_path: Path) -> None:
    with running(tmp_path, "--device", "cpu", "--device", "auto", "--queue", "2") as server:
        load(server)
        jobs = [started(server, num_frames=ENDLESS) for _ in range(2)]
        jobs += [started(server) for _ in range(2)]
        assert [first["position"] for _, first in jobs] == [0, 0, 1, 2]
        assert {first["total_chunks"] for _, first in jobs[2:]} == {3}
        assert server.http.post("/api/v1/batch", json=REQUEST).status_code == 409
        assert len(server.workers) >= 2
        for events, _ in jobs[:2]:
            next(name for name, _ in events if name == "progress")  # both run
        server.http.post("/api/v1/batch/cancel", params={"job": jobs[1][1]["job"]})
        assert [name for name, _ in jobs[1][0]][-1] == "cancelled"
        for (events, first), positions in zip(jobs[2:], ([0], [1, 0]), strict=True):
            told = [*events]
            assert [data["position"] for name, data in told if name == "position"] == positions
            assert (told[-1][0], told[-1][1]["num_frames"]) == ("complete", first["num_frames"])
        server.http.post("/api/v1/batch/cancel")
        assert [name for name, _ in jobs[0][0]][-1] == "cancelled"


@pytest.mark.slow
def test_sigterm_ends_the_streams_and_a_new_server_finishes_the_job(tmp_path: Path) -> None:
    frames = 600
    with running(tmp_path) as first:
        load(first)
        with first.http.stream("POST", "/api/v1/batch", json={**REQUEST, "num_frames": frames}) as answer:
            job = answer.headers["X-Job-Id"]
            events = events_of(answer.iter_lines())
            assert next(name for name, _ in events if name == "progress")
            workers = psutil.Process(first.process.pid).children(recursive=True)
            first.process.send_signal(signal.SIGTERM)
            assert [name for name, _ in events if name != "progress"] == ["error"]
        assert first.process.wait(PATIENCE_S) == 0
        assert psutil.wait_procs(workers, PATIENCE_S)[1] == []
    with running(tmp_path) as second:
        with second.http.stream("GET", f"/api/v1/batch/{job}/events") as answer:
            name, data = [*events_of(answer.iter_lines())][-1]
        assert name == "complete"
        assert np.array_equal(download(second, data["output_path"]), expected(tmp_path, num_frames=frames))


def test_a_signal_before_the_server_runs_is_not_lost(tmp_path: Path) -> None:
    with running(tmp_path) as just_announced:
        assert just_announced.stop() == 0


def test_a_second_signal_that_comes_before_the_server_has_ended_kills_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained: list[float | None] = []
    monkeypatch.setattr(Supervisor, "__enter__", lambda supervisor: supervisor)
    monkeypatch.setattr(Supervisor, "drain", lambda _, timeout_s=None: drained.append(timeout_s))

    def run(*_: Any) -> None:
        for _number in range(3):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    serve(ServerSettings(tmp_path, 0), lambda _: None)
    assert drained[0] == 0


def test_signals_after_the_second_one_have_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drain(_: Supervisor, timeout_s: float | None = None) -> None:
        drained.append(timeout_s)
        signal.raise_signal(signal.SIGTERM)

    drained: list[float | None] = []
    monkeypatch.setattr(Supervisor, "__enter__", lambda supervisor: supervisor)
    monkeypatch.setattr(Supervisor, "drain", drain)
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_: signal.raise_signal(signal.SIGTERM))
    serve(ServerSettings(tmp_path, 0), lambda _: None)
    assert drained[:2] == [None, 0]


def test_the_port_or_the_state_directory_may_be_in_use(server: Running, tmp_path: Path) -> None:
    port = server.http.base_url.port or 0
    for settings in (ServerSettings(tmp_path / "other", port), ServerSettings(server.folder / "state", 0)):
        with pytest.raises(TemporaryError, match=r"cannot listen|another server"):
            serve(settings, lambda url: pytest.fail(f"serves on {url}"))


def test_the_roots_are_where_scope_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LORA_VARIABLE, raising=False)
    monkeypatch.delenv(ASSETS_VARIABLE, raising=False)
    settings = ServerSettings(tmp_path, models=str(tmp_path / "models"))
    assert [root.folder for root in settings.roots()] == [tmp_path / "models" / "lora", tmp_path / "assets"]
    monkeypatch.setenv(LORA_VARIABLE, str(tmp_path / "x"))
    monkeypatch.setenv(ASSETS_VARIABLE, str(tmp_path / "y"))
    assert [root.folder for root in settings.roots()] == [tmp_path / "x", tmp_path / "y"]
    given = replace(settings, lora_root=tmp_path / "v", assets_root=tmp_path / "w")
    with pytest.raises(MissingInputError, match="--lora-root"):
        given.roots()
    for name in "vw":
        (tmp_path / name).mkdir()
    assert [root.folder for root in given.roots()] == [tmp_path / "v", tmp_path / "w"]


def test_without_the_packages_of_the_extra_the_verb_names_it() -> None:
    code = f"import sys; sys.modules['fastapi'] = None; {START}"
    done = subprocess.run([sys.executable, "-c", code, "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert "pip install 'scope-batch[serve]'" in done.stderr


def test_an_answer_is_not_held_back_until_the_client_acknowledges_its_head() -> None:
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
