"""A render that is finished is recognized at once; one of another job, input or model is told from it by name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import scope_batch.files.cache
import scope_batch.media.ffmpeg
import scope_batch.sinks.uptodate
import scope_batch.slate.engine
from scope_batch.errors import OutputExistsError
from scope_batch.events import Event, Finished, Loading
from scope_batch.models.folder import TINY_VERSION
from scope_batch.models.layout import artifacts
from scope_batch.pipelines import PIPELINES
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.engine.small import small_engine
from tests.render.helpers import SLATE, SMALL, TINY, ffmpeg, job_of, write_job
from tests.soak.kill import Loaded, write_lora

NAMES = ["a.npy", "a.mp4", "a%02d.png"]


class Runs:
    """Renders to `folder`, never over something; `events` are those of the last run."""

    def __init__(self, folder: Path, engines: Engines) -> None:
        self.folder, self.engines = folder, engines
        self.events: list[Event] = []

    def __call__(self, name: str, base: dict[str, Any] = SLATE, latents: str | None = None, **fields: Any) -> Finished:
        options = RenderOptions(
            outputs=(str(self.folder / name),), latents=None if latents is None else self.folder / latents
        )
        self.events = []
        job = job_of(base, **{"num_frames": 9, **fields})
        return render_job(job, "job", options, self.events.append, engines=self.engines)

    def refused(self, name: str, **given: Any) -> str:
        with pytest.raises(OutputExistsError) as caught:
            self(name, **given)
        return str(caught.value)

    @property
    def loading(self) -> list[str]:
        return [event.what for event in self.events if isinstance(event, Loading)]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))
    return Runs(tmp_path, Engines())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each check that reads the content of an output."""
    found: list[str] = []

    def watched(name: str) -> Callable[..., Any]:
        original = getattr(scope_batch.sinks.uptodate, name)

        def call(*args: Any) -> Any:
            found.append(name)
            return original(*args)

        return call

    for name in ("read_metadata", "bytes_and_hash", "verify_output", "read_latents_job"):
        monkeypatch.setattr(scope_batch.sinks.uptodate, name, watched(name))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_render_is_not_read_again(runs: Runs, looks: list[str], name: str) -> None:
    assert [runs(name).outcome, runs(name).outcome, looks] == ["done", "skipped", []]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_was_touched_is_read_once_more(runs: Runs, looks: list[str], name: str) -> None:
    runs(name)
    for file in runs.folder.glob("a*"):
        os.utime(file, ns=(1, 1))
    assert runs(name).outcome == "skipped" and "verify_output" in looks
    looks.clear()
    assert runs(name).outcome == "skipped" and looks == []


@pytest.mark.parametrize("name", NAMES)
def test_changed_bytes_are_noticed_though_size_and_time_are_the_same(runs: Runs, name: str) -> None:
    runs(name)
    file = next(file for file in sorted(runs.folder.glob("a*")) if file.suffix != ".json")
    status, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 3 :] = bytes(len(data[len(data) // 3 :]))
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "exist" in runs.refused(name)


@pytest.mark.parametrize("change", ["removed", "replaced", "added"])
def test_one_picture_of_a_sequence_is_missed(runs: Runs, looks: list[str], change: str) -> None:
    runs("a%02d.png")
    picture = runs.folder / "a04.png"
    if change == "removed":
        picture.unlink()
    else:
        shutil.copy(runs.folder / "a05.png", runs.folder / "a09.png" if change == "added" else picture)
    if change == "replaced":  # a whole picture of this job: only looking again can tell
        assert runs("a%02d.png").outcome == "skipped" and "verify_output" in looks
    else:
        assert "pictures, expected 9" in runs.refused("a%02d.png")


def test_without_a_cache_the_output_is_verified_again(
    runs: Runs, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs.folder / "file").touch()
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(runs.folder / "file" / "below it"))
    runs("a.npy")
    assert [runs("a.npy").outcome for _ in range(2)] == ["skipped"] * 2
    assert looks.count("verify_output") == 2


@pytest.mark.parametrize("change", [{}, {"seed": 3}], ids=["finished", "another job"])
def test_torch_is_not_imported_to_tell(runs: Runs, of_models: dict[str, Any], change: dict[str, Any]) -> None:
    runs("a.npy", of_models)
    job = write_job(runs.folder / "job.yaml", of_models, num_frames=9, **change)
    code = "import sys; from scope_batch.__main__ import main; code = main(sys.argv[1:]); "
    code += "sys.exit(99 if 'torch' in sys.modules else code)"
    done = subprocess.run([sys.executable, "-c", code, "render", job, "-o", runs.folder / "a.npy"], check=False)
    assert done.returncode == (73 if change else 0)


def test_latents_are_read_once_only(runs: Runs, looks: list[str]) -> None:
    runs.engines = Loaded(small_engine(PIPELINES["longlive"], tiny_vae=True))
    write_lora(runs.folder / "style.safetensors")
    given = {"base": TINY, "latents": "l.safetensors", "lora_scales": {str(runs.folder / "style.safetensors"): 0.5}}
    assert [runs("a.npy", **given).outcome, runs("a.npy", **given).outcome, looks] == ["done", "skipped", []]
    data = (runs.folder / "l.safetensors").read_bytes()
    (runs.folder / "l.safetensors").write_bytes(data[:-1] + b"\0")
    assert "l.safetensors holds no job, or was changed" in runs.refused("a.npy", **given)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 3}, r"seed: 42 -> 3$"),
        ({"chunk_specs": [{"chunk": 0, "text": "a dog"}]}, r"chunk_specs\[0\]\.chunk: nothing -> 0; "),
        ({"num_frames": 12, "seed": 3, "fps": 20, "prompt": "x"}, r"; and \d more$"),
    ],
)
def test_the_value_that_differs_is_named(runs: Runs, change: dict[str, Any], told: str) -> None:
    runs("a.npy")
    message = runs.refused("a.npy", **change)
    assert "a.npy: exists; replace it with --overwrite; " in message and "was made from another job: " in message
    assert re.search(told, message)


def test_the_input_that_differs_is_named(runs: Runs, looks: list[str]) -> None:
    clip = runs.folder / "clip.npy"
    for value in (0, 1):
        np.save(clip, np.full((9, 64, 64, 3), value, np.uint8))
        if value == 0:
            runs("a.npy", input_path=str(clip))
    told = r"another job: content of input_path: [0-9a-f]{12}\.\.\. -> [0-9a-f]{12}\.\.\.$"
    assert re.search(told, runs.refused("a.npy", input_path=str(clip))) and looks == []


def test_a_missing_second_output_is_named(runs: Runs) -> None:
    runs("a.npy")
    options = RenderOptions(outputs=(str(runs.folder / "a.npy"), str(runs.folder / "b.npy")))
    with pytest.raises(OutputExistsError, match=r"a\.npy: exists; .*b\.npy is missing"):
        render_job(job_of(SLATE, num_frames=9), "job", options)


def test_the_facts_of_a_clip_are_remembered(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = runs.folder / "clip.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=16:d=1.25", "-f", "lavfi", "-i", "sine=d=1.25", clip)
    given = {"input_path": str(clip), "num_frames": "input", "audio": "input"}
    assert runs("a.mp4", **given).outcome == "done"
    scope_batch.media.clip._probe.cache_clear()
    started: list[object] = []
    monkeypatch.setattr(scope_batch.media.ffmpeg, "_started", started.append)
    assert (runs("a.mp4", **given).outcome, started) == ("skipped", [])


@pytest.fixture
def models(runs: Runs) -> Path:
    """A folder with a small file for each file of longlive, in place of the weights."""
    folder = runs.folder / "models"
    for artifact in artifacts("longlive", "tae"):
        path = folder / artifact.local / artifact.probe
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"weights of the {artifact.role}")
    return folder


@pytest.fixture
def of_models(runs: Runs, models: Path) -> dict[str, Any]:
    """A job with these models; the slate draws its frames."""
    runs.engines = Loaded(scope_batch.slate.engine.load(Mock(), Mock()))
    return SMALL | {"models": str(models), "vae_type": "tae"}


def test_the_model_file_that_differs_is_named(runs: Runs, of_models: dict[str, Any], models: Path) -> None:
    runs("a.npy", of_models)
    assert runs("a.npy", of_models).outcome == "skipped"
    next(models.rglob("longlive_base.pt")).write_text("other weights")
    told = r"another job: model file backbone: [0-9a-f]{12}\.\.\. -> [0-9a-f]{12}\.\.\.$"
    assert re.search(told, runs.refused("a.npy", base=of_models))
    assert runs.loading == ["backbone, for its checksum"]


def test_models_are_compared_by_content_wherever_they_are(runs: Runs, of_models: dict[str, Any], models: Path) -> None:
    runs("a.npy", of_models)
    moved = models.rename(models.with_name("weights"))
    assert runs("a.npy", of_models | {"models": str(moved)}).message == "every output exists and was made from this job"


def test_a_finished_output_stays_up_to_date_without_its_models(
    runs: Runs, of_models: dict[str, Any], models: Path, looks: list[str]
) -> None:
    runs("a.npy", of_models)
    shutil.rmtree(models)
    assert "model files are not here, so they were not compared" in runs("a.npy", of_models).message and looks == []
    assert "seed: 42 -> 3" in runs.refused("a.npy", base=of_models, seed=3)


def test_tiny_models_are_not_those_of_a_missing_folder(runs: Runs, of_models: dict[str, Any], models: Path) -> None:
    runs("a.npy", of_models | {"models": "tiny"})
    shutil.rmtree(models)
    assert f"model file models: tiny, version {TINY_VERSION} -> nothing" in runs.refused("a.npy", base=of_models)


def test_model_files_are_read_for_their_checksums_once(runs: Runs, of_models: dict[str, Any]) -> None:
    runs("a.npy", of_models)
    assert runs.loading == [f"{role}, for its checksum" for role in ROLES]
    runs("b.npy", of_models)
    assert runs.loading == []


ROLES = ("config", "backbone", "builtin lora", "vae", "text encoder", "tokenizer")


def test_an_existing_output_of_a_mistaken_job_is_told_before_models_are_read(
    runs: Runs, of_models: dict[str, Any]
) -> None:
    with pytest.raises(Exception, match="allowed"):
        runs("a.tiff", of_models)
    assert runs.loading == []
