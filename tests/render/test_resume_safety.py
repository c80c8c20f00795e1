"""Nothing that is stored is lost, and nothing that goes wrong beside a render ends it or changes its frames."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scope_batch.checkpoint.store import ChunkStore
from scope_batch.core.engine import ByteWriter
from scope_batch.engine.session import CausalSession
from scope_batch.engine.state_file import StateSnapshot
from scope_batch.errors import TemporaryError
from tests.render.resuming import Runs

Whole = Callable[..., bytes]


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """A clip that moves, longer than the job."""
    rng = np.random.default_rng(0)
    steps = rng.integers(-9, 10, (80, 64, 64, 3)).cumsum(axis=0)
    np.save(tmp_path / "clip.npy", (128 + steps).clip(0, 255).astype(np.uint8))
    return str(tmp_path / "clip.npy")


def test_a_stop_at_the_start_of_a_resumed_run_keeps_the_state(runs: Runs) -> None:
    runs(stop_at=2)
    (state,) = runs.store.glob("*.state")
    before = state.stat().st_ino
    runs(stop_at=2)
    assert state.stat().st_ino == before


def test_a_state_that_cannot_be_written_leaves_the_older_one(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(stop_at=2)

    def fail(self: StateSnapshot, file: ByteWriter) -> None:  # noqa: ARG001
        file.write(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(StateSnapshot, "write", fail)
        runs(stop_at=3)
    assert any("the state could not be saved" in line for line in runs.warnings)
    runs()
    assert runs.generated == [2, 3]


@pytest.mark.parametrize("stop_at", [None, 3])
def test_a_snapshot_that_fails_is_a_warning(
    runs: Runs, whole: Whole, monkeypatch: pytest.MonkeyPatch, stop_at: int | None
) -> None:
    def fail(self: CausalSession) -> StateSnapshot:  # noqa: ARG001
        raise RuntimeError("no pinned memory")

    with monkeypatch.context() as patch:
        patch.setattr(CausalSession, "snapshot", fail)
        runs(stop_at=stop_at)
    assert any("no pinned memory" in line for line in runs.warnings)
    if stop_at is not None:
        assert runs() == whole()


def test_two_outputs_of_one_name_share_a_work_dir(runs: Runs, tmp_path: Path) -> None:
    scratch: dict[str, Any] = {"work_dir": tmp_path / "scratch"}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    runs(name="a/out.npy", options=scratch)
    runs(name="b/out.npy", stop_at=2, options=scratch)
    runs(name="a/out.npy", options=scratch)
    runs(name="b/out.npy", options=scratch)
    assert runs.generated == [2, 3]


def test_a_folder_that_is_being_written_is_not_reused(runs: Runs) -> None:
    runs(stop_at=2)
    with (runs.store.parent / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TemporaryError, match="still running"):
            runs(name="other.npy", options={"reuse": runs.store.parent})


def test_a_reused_folder_may_go_once_the_render_has_begun(
    runs: Runs, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(stop_at=3)
    copy = Path(shutil.copytree(runs.store.parent, runs.folder / "copy"))
    begin = ChunkStore.__init__

    def begun(self: ChunkStore, *found: Any) -> None:
        begin(self, *found)
        shutil.rmtree(copy)

    monkeypatch.setattr(ChunkStore, "__init__", begun)
    assert runs(name="other.npy", options={"reuse": copy}) == whole()
    assert not copy.exists()


def test_a_noise_controller_that_comes_later_measures_from_the_chunk_before(
    runs: Runs, whole: Whole, clip: str
) -> None:
    video = {"input_path": clip, "noise_scale": 0.6, "noise_controller": False}
    later = {**video, "chunk_specs": [{"chunk": 2, "noise_controller": True}]}
    runs(stop_at=3, keep_state=[2], **video)
    assert runs(**later) == whole(**later)
    assert runs.generated[0] == 2


def test_a_longer_job_with_input_video_uses_its_chunks(runs: Runs, whole: Whole, clip: str) -> None:
    runs(input_path=clip, keep_state=[3])
    longer = {"input_path": clip, "num_frames": 57}
    assert runs(name="longer.npy", options={"reuse": runs.store.parent}, **longer) == whole(**longer), runs.warnings
    assert runs.generated[0] == 3


def test_control_that_comes_later_leaves_the_chunks_before_it(runs: Runs, whole: Whole, tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", np.zeros((1, 3, 24, 64, 64), np.float32))
    control = {"chunk_specs": [{"chunk": 2, "vace_frames": str(tmp_path / "depth.npy")}]}
    runs(stop_at=3, keep_state=[2])
    assert runs(**control) == whole(**control)
    assert runs.generated[0] == 2
