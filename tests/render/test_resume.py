"""A render continues from its work folder, and what it makes there equals an uninterrupted run."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scope_batch.checkpoint.manifest import read_manifest, to_line
from scope_batch.checkpoint.store import STORE
from scope_batch.errors import Interrupted, JobError, MissingInputError, TemporaryError
from scope_batch.job import Job
from scope_batch.render.chunk_stream import render_chunks
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.render.helpers import TINY, job_of
from tests.render.resuming import CHUNKS, DOG, FIELDS, Runs


@pytest.mark.parametrize("border", range(1, CHUNKS))
def test_a_stopped_render_continues_where_it_was(runs: Runs, whole: Callable[..., bytes], border: int) -> None:
    runs(stop_at=border)
    assert runs() == whole()
    assert runs.generated == list(range(border, CHUNKS))
    assert runs.resumed == [(border, 0)]
    assert runs.warnings == []
    assert [path.name for path in runs.folder.iterdir()] in (["out.npy", "out.npy.json"], ["out.npy.json", "out.npy"])


def test_without_a_state_chunks_are_made_again_and_not_written_again(runs: Runs, whole: Callable[..., bytes]) -> None:
    runs(stop_at=3)
    for state in runs.store.glob("*.state"):
        state.unlink()
    assert runs() == whole()
    assert runs.generated == [0, 1, 2, 3]
    assert runs.resumed == [(0, 3)]


def test_a_cut_needs_no_state(runs: Runs, whole: Callable[..., bytes]) -> None:
    cut = [{"chunk": 2, "reset_cache": True, "seed": 5000}]
    runs(stop_at=3, chunk_specs=cut)
    for state in runs.store.glob("*.state"):
        state.unlink()
    assert runs(chunk_specs=cut) == whole(chunk_specs=cut)
    assert runs.generated[0] == 2


@pytest.mark.parametrize(("resume", "stored"), [(True, True), (None, False)])
def test_an_interruption_says_whether_its_chunks_are_stored(runs: Runs, resume: bool | None, stored: bool) -> None:
    runs(stop_at=1, options={"resume": resume, "checkpoint_every": 1 if resume else None})
    assert runs.events[-1].to_json()["stored"] is stored


def test_a_change_reuses_the_chunks_before_it(runs: Runs, whole: Callable[..., bytes]) -> None:
    runs(stop_at=3, keep_state=[2])
    assert runs(chunk_specs=DOG) == whole(chunk_specs=DOG)
    assert runs.generated == [2, 3]
    assert any("chunk 2: prompt: " in line and "a dog" in line for line in runs.warnings), runs.warnings


def test_a_change_without_a_kept_state_makes_the_opening_again(runs: Runs, whole: Callable[..., bytes]) -> None:
    runs(stop_at=3, options={"checkpoint_every": 99})
    assert runs(chunk_specs=DOG) == whole(chunk_specs=DOG)
    assert runs.generated == [0, 1, 2, 3]


def test_a_finished_render_can_be_reused_by_another(runs: Runs, whole: Callable[..., bytes]) -> None:
    runs(keep_state=[2])
    reuse = {"reuse": runs.store.parent}
    assert runs(name="dog.npy", chunk_specs=DOG, options=reuse) == whole(chunk_specs=DOG)
    assert runs.generated == [2, 3]
    assert (runs.store / "00003.frames").exists(), "the reused folder stays as it is"


def test_no_resume_begins_anew(runs: Runs, whole: Callable[..., bytes]) -> None:
    runs(stop_at=3)
    assert runs(options={"resume": False}) == whole()
    assert runs.generated == [0, 1, 2, 3]


def test_overwrite_begins_anew_unless_resume_is_asked_for(runs: Runs, whole: Callable[..., bytes]) -> None:
    runs(stop_at=3)
    copy = shutil.copytree(runs.store.parent, runs.folder / "copy")
    runs(options={"overwrite": True, "resume": None})
    assert runs.generated == [0, 1, 2, 3]
    shutil.move(copy, runs.store.parent)
    assert runs(options={"overwrite": True}) == whole()
    assert runs.generated == [3]


def test_another_environment_is_named_and_needs_a_word(runs: Runs, whole: Callable[..., bytes]) -> None:
    runs(stop_at=2)
    manifest = runs.store / "chunks.jsonl"
    rows = read_manifest(manifest)[0]
    rows[0]["environment"]["torch"] = "1.0"
    manifest.write_bytes(b"".join(map(to_line, rows)))
    with pytest.raises(JobError, match=r"torch: 1\.0 -> .*--resume .*--no-resume"):
        runs(options={"resume": None})
    assert runs() == whole()
    assert runs.generated == [2, 3]


@pytest.mark.parametrize("name", ["00001.frames", "00002.state", "chunks.jsonl"])
def test_damage_is_named_and_what_is_good_is_used(runs: Runs, whole: Callable[..., bytes], name: str) -> None:
    runs(stop_at=2)
    data = bytearray((runs.store / name).read_bytes())
    data[len(data) // 2] ^= 1
    (runs.store / name).write_bytes(data)
    assert runs() == whole()
    if name != "chunks.jsonl":  # of which the lines before the damaged one are used
        assert any("damaged" in line for line in runs.warnings)


def test_a_work_folder_elsewhere(runs: Runs, whole: Callable[..., bytes], tmp_path: Path) -> None:
    elsewhere = {"work_dir": tmp_path / "scratch"}
    runs(stop_at=2, options=elsewhere)
    assert len([*(tmp_path / "scratch").glob(f".out.npy-*.work/{STORE}")]) == 1
    assert runs(options=elsewhere) == whole()
    assert runs.generated == [2, 3]
    assert not (tmp_path / "scratch").exists() or not [*(tmp_path / "scratch").iterdir()]


def test_reuse_of_something_else_is_refused(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"--reuse .*no work folder"):
        runs(options={"reuse": tmp_path})


def test_a_locked_work_folder_is_refused(runs: Runs) -> None:
    with pytest.raises(TemporaryError, match="another process"):

        class Again:
            def check(self) -> None:
                Runs(runs.folder, runs.engines)()

        render_job(
            job_of(TINY, **FIELDS),
            "job",
            RenderOptions(outputs=(str(runs.folder / "out.npy"),)),
            stop=Again(),
            engines=runs.engines,
        )


def test_a_short_render_stores_nothing(runs: Runs) -> None:
    runs(stop_at=2, options={"resume": None, "checkpoint_every": None})
    assert not runs.store.exists()


def chunks_of(job: Job, engines: Engines, folder: Path, stop: threading.Event | None = None) -> Iterator[Any]:
    return render_chunks(job, RenderOptions(work_dir=folder), stop=stop, engines=engines)


def test_chunks_in_python_continue_after_a_break(engines: Engines, tmp_path: Path, whole: Callable[..., bytes]) -> None:
    job = job_of(TINY, **FIELDS)
    for made in chunks_of(job, engines, tmp_path):
        if made.chunk.index == 1:
            break
    again = list(chunks_of(job, engines, tmp_path))
    assert [made.stored for made in again] == [True, True, False, False]
    assert again[0].latents.shape == (3, 16, 8, 8)
    frames = np.concatenate([made.frames for made in again])
    assert frames.tobytes() == whole()[-frames.nbytes :]
    assert [*tmp_path.iterdir()] == []


def test_an_event_stops_chunks_in_python(engines: Engines, tmp_path: Path) -> None:
    stop, made = threading.Event(), []
    with pytest.raises(Interrupted, match="by the caller"):
        for chunk in chunks_of(job_of(TINY, **FIELDS), engines, tmp_path, stop):
            made.append(chunk)
            stop.set()
    assert len(made) == 1


def test_post_processors_and_their_rest_reach_python(engines: Engines) -> None:
    job = job_of(TINY, **FIELDS, post_processor_id="gray")
    frames = np.concatenate([made.frames for made in render_chunks(job, engines=engines)])
    assert frames.shape == (45, 64, 64, 3)
    assert (frames[..., 0] == frames[..., 1]).all()
