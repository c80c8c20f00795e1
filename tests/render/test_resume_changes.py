"""What a render takes from a work folder when something about the render has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scope_batch.checkpoint.manifest import read_manifest, to_line
from scope_batch.checkpoint.store import MANIFEST
from scope_batch.events import Event
from scope_batch.render.chunk_stream import render_chunks
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import outputs_of, unused_by_resume
from tests.render.helpers import SLATE, job_of
from tests.render.resuming import CHUNKS, DOG, Runs

Whole = Callable[..., bytes]
ALL = list(range(CHUNKS))


@pytest.mark.parametrize(
    ("change", "generated"),
    [
        ({"fps": 24}, [3]),
        ({"post_processor_id": "gray"}, [3]),
        ({"num_frames": 57}, [3, 4]),
        ({"num_frames": 30}, ALL[:3]),
        ({"seed": 7}, ALL),
        ({"denoising_steps": [1000, 750]}, ALL),
        ({"chunk_specs": [{"chunk": 3, "seed": 7}]}, [3]),
        ({"lora_scales": {"style.safetensors": [0.0, 0.1, 0.2, 0.5]}}, [3]),
    ],
)
def test_a_changed_job_gives_what_it_gives_alone(
    runs: Runs, whole: Whole, change: dict[str, Any], generated: list[int]
) -> None:
    runs(stop_at=3)
    assert runs(**change) == whole(**change)
    assert runs.generated == generated


@pytest.mark.parametrize("change", [{"seed": 7}, {"num_frames": 30}, {"chunk_specs": [{"chunk": 1, "text": "a dog"}]}])
def test_what_has_changed_is_named(runs: Runs, change: dict[str, Any]) -> None:
    runs(stop_at=3)
    runs(**change)
    (line,) = [line for line in runs.warnings if "stored for another job" in line]
    named = {"seed": "chunk 0: seed: 42 -> 7", "num_frames": "chunk 2: keep: 12 -> 9", "chunk_specs": "a dog"}
    assert named[next(iter(change))] in line


def test_a_folder_of_another_version_is_named_and_not_used(runs: Runs, whole: Whole) -> None:
    runs(stop_at=2)
    rows = read_manifest(runs.store / MANIFEST)[0]
    rows[0]["version"] = 0
    (runs.store / MANIFEST).write_bytes(b"".join(map(to_line, rows)))
    assert runs() == whole()
    assert runs.generated == ALL
    assert any("version of the work folder: 0 -> 1; nothing of it is used" in line for line in runs.warnings)


def test_latents_that_nobody_asks_for_any_more_are_no_difference(runs: Runs, whole: Whole) -> None:
    runs(stop_at=3, options={"latents": runs.folder / "l.safetensors", "checkpoint_every": 99})
    for state in runs.store.glob("*.state"):
        state.unlink()
    assert runs() == whole()
    assert (runs.resumed, runs.warnings) == ([(0, 3)], [])


def test_chunks_without_latents_do_not_serve_a_render_that_saves_them(runs: Runs) -> None:
    runs(stop_at=3)
    runs(options={"latents": runs.folder / "l.safetensors"})
    assert runs.generated == ALL
    assert any("--latents: not kept -> asked for" in line for line in runs.warnings)


def test_the_folder_that_is_reused_is_the_one_that_is_named(runs: Runs) -> None:
    runs(keep_state=[2])
    runs(name="dog.npy", chunk_specs=DOG, options={"reuse": runs.store.parent})
    assert [event.folder for event in runs.events if event.kind == "resumed"] == [str(runs.store)]


def test_a_reused_folder_that_does_not_fit_is_named(runs: Runs, whole: Whole) -> None:
    runs(options={"keep_work": True}, seed=7)
    assert runs(name="b.npy", options={"reuse": runs.store.parent}) == whole()
    (line,) = runs.warnings
    assert line.startswith(str(runs.store.parent)) and "seed: 7 -> 42; nothing of it is used" in line


def test_a_folder_with_a_later_state_serves_better(runs: Runs, whole: Whole) -> None:
    runs(stop_at=3)
    other = shutil.copytree(runs.store.parent, runs.folder / "other")
    for state in runs.store.glob("*.state"):
        state.unlink()
    assert runs(options={"reuse": other}) == whole()
    assert runs.generated == [3]


def test_a_reused_folder_that_holds_no_more_is_named(runs: Runs) -> None:
    runs(stop_at=3)
    other = shutil.copytree(runs.store.parent, runs.folder / "other")
    runs(options={"reuse": other})
    assert any("it holds no more of this render than" in line for line in runs.warnings)


def test_nothing_is_generated_where_all_is_stored(runs: Runs, whole: Whole) -> None:
    runs(options={"keep_work": True})
    assert runs(name="b.npy", options={"reuse": runs.store.parent}) == whole()
    assert (runs.generated, runs.resumed) == ([], [(CHUNKS, 0)])
    assert not (runs.folder / ".b.npy.work").exists()


def test_what_is_all_stored_elsewhere_is_kept_here_too(runs: Runs, whole: Whole, tmp_path: Path) -> None:
    runs(options={"keep_work": True})
    runs(name="b.npy", options={"reuse": runs.store.parent, "keep_work": True})
    shutil.rmtree(runs.store.parent)
    assert runs(name="c.npy", options={"reuse": tmp_path / ".b.npy.work"}) == whole()
    assert runs.generated == []


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (RenderOptions(), ["keep_state"]),
        (RenderOptions(resume=True, keep_work=True), ["keep_state", "--resume", "--keep-work"]),
        (RenderOptions(resume=True, work_dir=Path("w")), []),
        (RenderOptions(checkpoint_every=0, work_dir=Path("w")), ["keep_state", "--work-dir"]),
    ],
)
def test_a_wish_for_stored_chunks_without_a_place_is_a_warning(options: RenderOptions, names: list[str]) -> None:
    job = job_of(SLATE, keep_state=[1])
    lines = unused_by_resume(job, outputs_of(job, ["-"]), options)
    assert [line.partition(" has no effect: ")[0].split()[-1] for line in lines] == names


def test_chunks_in_python_are_not_stored_where_that_is_not_asked_for(tmp_path: Path) -> None:
    warnings: list[Event] = []
    options = RenderOptions(work_dir=tmp_path / "w", checkpoint_every=0)
    assert next(render_chunks(job_of(SLATE, num_frames=9), options, warnings.append)).frames.shape == (9, 64, 64, 3)
    assert "--work-dir has no effect" in str(warnings[0])
    assert not (tmp_path / "w").exists()
