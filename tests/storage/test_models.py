"""Models whose folder lies in S3."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scope_batch.__main__ import main
from scope_batch.errors import UnavailableError
from scope_batch.events import Event
from scope_batch.job import load_job
from scope_batch.models.folder import find_models, models_folder
from scope_batch.models.tiny.build import tiny_models_folder
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.storage.storages import S3, files_below

JOB = {"prompt": "a cat", "height": 64, "width": 64, "num_frames": 9, "vae_type": "lightvae"}


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOPE_BATCH_CACHE", str(tmp_path_factory.mktemp("tiny")))
        return tiny_models_folder("longlive", vae_type="lightvae", vace=False)


@pytest.fixture
def models(s3: S3, tiny_folder: Path) -> str:
    """The tiny set in S3, as a folder of model files."""
    for name in files_below(tiny_folder):
        s3.put(f"models/{name}", (tiny_folder / name).read_bytes())
    return s3.url("models")


@pytest.mark.slow
def test_models_in_s3_render_the_same_bytes_as_local_ones(
    models: str, s3: S3, tiny_folder: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    for folder, output in ((models, s3.url("out.npy")), (str(tiny_folder), str(tmp_path / "out.npy"))):
        options = RenderOptions(outputs=(output,), models=folder)
        render_job(load_job(json.dumps(JOB)), options=options, report=events.append)
    assert s3.get("out.npy") == (tmp_path / "out.npy").read_bytes()
    documents = [json.loads(text) for text in (s3.get("out.npy.json"), (tmp_path / "out.npy.json").read_bytes())]
    assert documents[0] == documents[1]
    assert sum("fetching s3://films/models/LongLive" in str(event.to_json()) for event in events) == 2


def test_only_the_files_that_a_pipeline_needs_are_fetched(models: str, s3: S3) -> None:
    s3.put("models/MemFlow/base.pt", b"of another pipeline")
    files = find_models("longlive", models, vae_type="lightvae")
    assert files.backbone.is_file() and files.tokenizer.is_dir()
    assert not (files.backbone.parents[2] / "MemFlow").exists()


def test_missing_model_files_are_named_with_their_url(s3: S3) -> None:
    s3.put("models/LongLive-1.3B/models/lora.pt", b"alone")
    with pytest.raises(
        UnavailableError, match=r"^longlive: model files missing in s3://films/models: Wan2.1-T2V-1.3B/"
    ):
        find_models("longlive", s3.url("models"))


def test_a_plan_fetches_the_tokenizer_alone(models: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(JOB | {"models": models}))
    assert main(["plan", str(tmp_path / "job.yaml")]) == 0
    copies = models_folder(models)
    assert {Path(name).parent.name for name in files_below(copies)} == {"umt5-xxl"}


def test_verbs_that_look_at_local_models_refuse_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["models", "list"], ["models", "check", "longlive"], ["models", "pull", "longlive"], ["doctor"]):
        assert main([*verb, "--models", "s3://films/models"]) == 2
        assert "--models s3://films/models: is a URL" in capsys.readouterr().err
