"""The command line on real renders: several jobs, existing outputs, preview, progress."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scope_batch.render.engine_pool
from scope_batch.__main__ import main
from scope_batch.core.engine import Engine, EngineRequest
from scope_batch.events import ChunkDone, Event
from scope_batch.media import patience
from scope_batch.media.ffmpeg import Child
from scope_batch.render.options import RenderOptions
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.work_folder import WorkFolder
from scope_batch.slate.engine import SlateSession
from tests.render.helpers import SLATE, TINY, Renderer, load_frames, names_in, write_job

Lines = list[dict[str, Any]]
Run = Callable[..., tuple[int, Lines]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """run(*arguments): `scope-batch render` in this process; returns its exit code and JSON events."""
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: str) -> tuple[int, Lines]:
        capfd.readouterr()
        code = main(["render", *arguments, "--progress", "json"])
        return code, [json.loads(line) for line in capfd.readouterr().err.splitlines()]

    return ran


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[EngineRequest]:
    """The requests of all engines loaded during the test."""
    loaded: list[EngineRequest] = []
    load = scope_batch.render.engine_pool.load_engine

    def counted(request: EngineRequest, report: Callable[[Event], None]) -> Engine:
        loaded.append(request)
        return load(request, report)

    monkeypatch.setattr(scope_batch.render.engine_pool, "load_engine", counted)
    return loaded


def test_several_jobs_load_the_model_once_and_outlive_a_bad_one(run: Run, loads: list[EngineRequest]) -> None:
    write_job(Path("a.yaml"), TINY, num_frames=9)
    write_job(Path("b.yaml"), TINY, num_frames=9, prompt="many words " * 600)
    write_job(Path("c.yaml"), TINY, num_frames=10, height=80)
    code, lines = run("a.yaml", "b.yaml", "c.yaml", "-o", "{job}.npy")
    assert code == 65 and len(loads) == 1
    assert [line["job"] for line in lines if line["event"] == "error"] == ["b.yaml"]
    assert [len(load_frames(Path(f"{name}.npy"))) for name in "ac"] == [9, 10]
    assert not Path("b.npy").exists()
    ends = [(line["job"], line["outcome"]) for line in lines if line["event"] == "finished"]
    assert ends == [("a.yaml", "done"), ("b.yaml", "failed"), ("c.yaml", "done")]


def test_progress_adds_up(run: Run) -> None:
    write_job(Path("a.yaml"), TINY, num_frames=40, chunk_specs=[{"chunk": 1, "text": "a dog"}])
    code, lines = run("a.yaml", "-o", "a.npy")
    events = [line["event"] for line in lines]
    assert code == 0 and events.count("finished") == 1 and events[-1] == "finished"
    chunks = [line for line in lines if line["event"] == "chunk"]
    started = [line["chunk"] for line in lines if line["event"] == "chunk-started"]
    assert [line["chunk"] for line in chunks] == started == [0, 1, 2, 3]
    assert np.cumsum([line["frames"] for line in chunks]).tolist() == [line["frames_done"] for line in chunks]
    assert (chunks[-1]["frames_done"], chunks[-1]["eta_s"], lines[-1]["frames"]) == (40, 0, 40)
    assert [line["prompt"] for line in chunks] == ["a cat", "a dog", "a dog", "a dog"]
    stages = [(line["stage"], line["step"]) for line in lines if line["event"] == "stage" and line["chunk"] == 1]
    denoising = [("denoising", step) for step in (1, 2, 3, 4)]
    assert stages == [("recaching", 0), *denoising, ("caching", 0), ("decoding", 0), ("copying", 0)]
    times = [line["t"] for line in lines]
    assert times == sorted(times)
    assert lines[-1]["outputs"] == [{"path": "a.npy", "bytes": Path("a.npy").stat().st_size}]


def test_an_output_that_exists(run: Run, loads: list[EngineRequest]) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9)
    Path("a.npy").write_text("mine")
    code, lines = run("a.yaml", "-o", "a.npy")
    assert code == 73 and "a.npy: exists" in lines[-1]["message"]
    assert not loads and Path("a.npy").read_text() == "mine"
    assert run("a.yaml", "-o", "a.npy", "-y")[0] == 0
    assert len(load_frames(Path("a.npy"))) == 9


@pytest.mark.parametrize("name", ["a.npy", "a.mp4", "a%03d.png"])
def test_an_up_to_date_job_is_skipped(run: Run, loads: list[EngineRequest], name: str) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9)
    assert run("a.yaml", "-o", name, "-n")[0] == 0 and len(loads) == 1
    before = {path: Path(path).stat().st_mtime_ns for path in names_in(Path())}
    code, lines = run("a.yaml", "-o", name, "-n")
    assert (code, len(loads)) == (0, 1) and lines[-1]["outcome"] == "skipped"
    assert {path: Path(path).stat().st_mtime_ns for path in names_in(Path())} == before
    write_job(Path("a.yaml"), SLATE, num_frames=9, seed=3)
    code, lines = run("a.yaml", "-o", name, "-n")
    assert code == 73 and "rendered from this job" in lines[-1]["message"]


def test_another_value_of_a_variable_is_another_job(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.yaml").write_text("pipeline_id: slate\nprompt: a ${ANIMAL}\nnum_frames: 9\n")
    monkeypatch.setenv("ANIMAL", "cat")
    assert [run("a.yaml", "-o", "a.npy", "-n")[0] for _ in range(2)] == [0, 0]
    monkeypatch.setenv("ANIMAL", "dog")
    assert run("a.yaml", "-o", "a.npy", "-n")[0] == 73
    assert b"dog" not in Path("a.npy.json").read_bytes() and b"cat" not in Path("a.npy.json").read_bytes()


def test_no_output_replaces_an_input(run: Run) -> None:
    np.save("clip.npy", np.zeros((9, 64, 64, 3), np.uint8))
    write_job(Path("clip.yaml"), SLATE, num_frames=9, input_path="clip.npy")
    for output in ("clip.npy", "clip.mp4"):
        assert run("clip.yaml", "-o", output, "-y")[0] == (65 if output == "clip.npy" else 0)
    assert run("clip.mp4", "-o", "clip.mp4", "-y")[0] == 65
    assert np.load("clip.npy").shape == (9, 64, 64, 3)


def test_missing_latents_are_not_up_to_date(run: Run) -> None:
    write_job(Path("a.yaml"), TINY, num_frames=9)
    assert run("a.yaml", "-o", "a.npy")[0] == 0
    latents = ["--latents", "l.safetensors"]
    assert run("a.yaml", "-o", "a.npy", "-n", *latents)[0] == 73
    assert [run("a.yaml", "-o", "b.npy", *latents)[0] for _ in range(2)] == [0, 0]
    assert run("a.yaml", "-o", "b.npy", *latents, "--set", "seed=7")[0] == 73


def test_the_preview_follows_the_chunks(slate: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    preview = slate.folder / "p.png"
    generate = SlateSession.generate

    def looked_at(self: SlateSession, *args: Any) -> Any:
        seen.append(preview.stat().st_mtime_ns if preview.exists() else 0)
        return generate(self, *args)

    monkeypatch.setattr(SlateSession, "generate", looked_at)
    slate(SLATE, "a.npy", num_frames=100, options=RenderOptions(preview=preview))
    assert len(set(seen)) > 2
    assert np.array_equal(np.asarray(Image.open(preview)), load_frames(slate.folder / "a.npy")[-1])


def test_deterministic(run: Run) -> None:
    write_job(Path("a.yaml"), TINY, num_frames=21)
    assert run("a.yaml", "-o", "a.npy", "--deterministic")[0] == 0
    assert run("a.yaml", "-o", "b.npy")[0] == 0
    assert Path("a.npy").read_bytes() == Path("b.npy").read_bytes()


def test_a_rendered_file_is_a_job(run: Run) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=12, prompt="x; y=z\\ #1 — ü")
    assert run("a.yaml", "-o", "a.npy", "-o", "a.mp4")[0] == 0
    for source in ("a.mp4", "a.npy"):
        assert run(source, "-o", "b.npy", "-y")[0] == 0
        assert Path("a.npy").read_bytes() == Path("b.npy").read_bytes()


def test_metadata_hold_no_local_path(run: Run, tmp_path: Path, clip: Path) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9, input_path=str(clip))
    assert run("a.yaml", "-o", "a.npy")[0] == 0
    text = Path("a.npy.json").read_text()
    assert str(tmp_path) not in text and str(clip.parent) not in text and "clip.mp4" in text


def test_frames_done_counts_as_fast_as_it_claims(slate: Renderer) -> None:
    done = slate(SLATE, "a.npy", num_frames=60)
    last = [event for event in slate.events if isinstance(event, ChunkDone)][-1]
    assert done.frames == last.frames_done == 60 and done.fps > 0 and done.render_s >= last.elapsed_s


def test_a_stopped_encoder_does_not_defeat_the_time_limit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Child.__init__

    def started_and_stopped(self: Child, *args: Any, **more: Any) -> None:
        start(self, *args, **more)
        if more.get("pass_fds"):
            os.kill(self.pid, signal.SIGSTOP)

    monkeypatch.setattr(Child, "__init__", started_and_stopped)
    monkeypatch.setattr(patience, "STALL_S", 0.2)
    write_job(Path("a.yaml"), SLATE, num_frames=100_000)
    assert run("a.yaml", "-o", "a.mkv", "--force", "--timeout", "1", "--checkpoint-every", "0")[0] == 124
    assert names_in(Path()) == {"a.yaml"}


@pytest.mark.parametrize("name", ["a.mp4", "a.npy", "f/%03d.png"])
def test_the_same_command_after_a_whole_render_has_nothing_to_do(
    run: Run, loads: list[EngineRequest], name: str
) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9)
    assert [run("a.yaml", "-o", name)[0] for _ in range(2)] == [0, 0] and len(loads) == 1
    write_job(Path("a.yaml"), SLATE, num_frames=9, seed=3)
    assert run("a.yaml", "-o", name)[0] == 73


def test_an_array_of_another_render_beside_its_sidecar_is_not_up_to_date(run: Run) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9)
    write_job(Path("b.yaml"), SLATE, num_frames=9, prompt="a dog")
    run("a.yaml", "-o", "a.npy")
    run("b.yaml", "-o", "b.npy")
    Path("b.npy").replace("a.npy")
    assert run("a.yaml", "-o", "a.npy", "-n")[0] == 73


def test_a_second_render_of_a_sequence_is_refused_before_anything_is_loaded(
    run: Run, loads: list[EngineRequest]
) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9)
    with Publication([Path("f/%03d.png")]):
        code, lines = run("a.yaml", "-o", "f/%03d.png", "-y")
    assert code == 75 and lines[-1]["message"].startswith("f/%03d.png: another process is writing it: process ")
    assert not loads


@pytest.mark.parametrize("name", ["a" * 246 + ".mp4", "a" * 239 + ".npy", "a" * 247 + "%d.png"])
def test_a_name_too_long_for_its_helpers_is_refused_before_anything_is_loaded(
    run: Run, loads: list[EngineRequest], name: str
) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9)
    code, lines = run("a.yaml", "-o", name)
    assert code == 74 and "too long here" in lines[-1]["message"] and not loads
    assert names_in(Path()) == {"a.yaml"}


@pytest.mark.parametrize("name", ["a" * 300 + ".npy", "a" * 300 + "/a.npy", "a" * 300 + "%d.png"])
def test_a_name_too_long_for_the_output_itself_is_an_error_of_the_output(run: Run, name: str) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9)
    code, lines = run("a.yaml", "-o", name)
    assert code == 74 and "too long" in lines[-1]["message"]


def test_files_of_a_killed_render_are_removed_by_the_next_one(run: Run) -> None:
    write_job(Path("a.yaml"), SLATE, num_frames=9)
    for name in ("a.mp4", "%03d.png"):
        work = WorkFolder(Path(name))
        work.acquire()
        work.write("000.png", b"half")
        work.release()
    for flags in ([], ["-n"]):
        assert run("a.yaml", "-o", "a.mp4", "-o", "%03d.png", *flags)[0] == 0
        assert names_in(Path()) == {"a.yaml", "a.mp4", *(f"{index:03d}.png" for index in range(9))}
