"""Jobs whose inputs lie in S3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scope_batch.__main__ import main
from scope_batch.files.urls import url_of
from scope_batch.job import Job, load_job
from scope_batch.render.fingerprint import input_digests, job_sha256
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job
from tests.storage.storages import S3

BASE = {"pipeline_id": "slate", "prompt": "a cat", "height": 64, "width": 64, "num_frames": 9}


@pytest.fixture
def clip(s3: S3, tmp_path: Path) -> str:
    """A film of 9 frames in S3, and beside the test."""
    np.save(tmp_path / "clip.npy", np.arange(9 * 64 * 64 * 3, dtype=np.uint8).reshape(9, 64, 64, 3))
    return s3.put("clips/clip.npy", (tmp_path / "clip.npy").read_bytes())


def job_of(**fields: Any) -> Job:
    return load_job(json.dumps(BASE | fields))


def rendered(folder: Path, **fields: Any) -> bytes:
    render_job(job_of(**fields), options=RenderOptions(outputs=(str(folder / "out.npy"),), overwrite=True))
    return (folder / "out.npy").read_bytes()


def test_a_clip_in_s3_renders_to_the_same_bytes_as_a_local_one(clip: str, tmp_path: Path) -> None:
    assert rendered(tmp_path, input_path=clip) == rendered(tmp_path, input_path=str(tmp_path / "clip.npy"))


def test_a_job_tells_its_urls(clip: str) -> None:
    job = job_of(input_path=clip, models="gs://models/wan")
    values = job.model_dump(mode="json", exclude_defaults=True)
    assert (values["input_path"], values["models"]) == (clip, "gs://models/wan")
    assert job.to_public_dict()["input_path"] == "clip.npy"


def test_a_changed_object_is_another_input_of_the_same_job(clip: str, s3: S3) -> None:
    job = job_of(input_path=clip)
    prepare_job(job)
    before = input_digests(job)
    s3.put("clips/clip.npy", s3.get("clips/clip.npy")[:-1] + b"!")
    prepare_job(job)
    assert input_digests(job) != before


def test_the_folder_of_a_url_does_not_count_for_a_job(clip: str, tmp_path: Path) -> None:
    local = job_of(input_path=str(tmp_path / "clip.npy"))
    assert job_sha256(job_of(input_path=clip)) == job_sha256(local)


def test_loras_may_be_urls(s3: S3) -> None:
    [path] = job_of(lora_scales={s3.url("loras/style.safetensors"): 0.5}).lora_scales
    assert url_of(Path(path)) == s3.url("loras/style.safetensors")


def test_inputs_of_a_job_file_in_s3_lie_beside_it(s3: S3, clip: str, tmp_path: Path) -> None:
    s3.put("clips/job.yaml", json.dumps(BASE | {"input_path": "clip.npy"}).encode())
    assert main(["render", s3.url("clips/job.yaml"), "-o", str(tmp_path / "out.npy"), "-q"]) == 0
    assert (tmp_path / "out.npy").read_bytes() == rendered(tmp_path / "other", input_path=clip)


def test_a_missing_object_is_named_with_its_line(
    s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(f"prompt: a cat\ninput_path: {s3.url('clips/none.mp4')}\n")
    assert main(["plan", "job.yaml"]) == 66
    assert "job.yaml:2:1: input_path: s3://films/clips/none.mp4: no such object" in capsys.readouterr().err


def test_a_damaged_object_is_named_by_its_url(s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = s3.put("clips/bad.npy", b"no array")
    (tmp_path / "job.yaml").write_text(f"prompt: a cat\ninput_path: {url}\n")
    assert main(["plan", str(tmp_path / "job.yaml")]) == 65
    error = capsys.readouterr().err
    assert "job.yaml:2:1: input_path: bad.npy: is not a readable .npy file" in error and "/storage/s3/" not in error


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("input_path: s3://key:hunter2@films/a.mp4", "may not hold a user name or a password"),
        ("output: s3://key:hunter2@films/a.mp4", "may not hold a user name or a password"),
        ("models: s3://films/models?X-Amz-Signature=hunter2", "may not hold a query"),
        ("lora_scales: {s3://key:hunter2@films/a.safetensors: 1}", "may not hold a user name or a password"),
        ("input_path: https://host/a.mp4?token=hunter2", "https:// is not supported; allowed: s3://, gs://, hf://"),
    ],
)
def test_urls_that_cannot_be_used_are_refused_without_their_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, reason: str
) -> None:
    (tmp_path / "job.yaml").write_text(f"prompt: a cat\n{field}\n")
    assert main(["plan", str(tmp_path / "job.yaml")]) == 65
    error = capsys.readouterr().err
    assert "job.yaml:2:" in error and reason in error and "hunter2" not in error


def test_a_plan_tells_what_it_reads_and_fetches_no_large_object(
    s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clip: str
) -> None:
    monkeypatch.setattr("scope_batch.cli.plan.PLAN_BYTES", 1000)
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(BASE | {"input_path": clip, "output": s3.url("out.npy")}))
    assert main(["plan", str(job)]) == 69
    assert "input_path: s3://films/clips/clip.npy: its copy here is missing" in capsys.readouterr().err
    assert main(["plan", str(job), "--fetch"]) == main(["plan", str(job)]) == 0
    out = capsys.readouterr().out
    assert f"reads shared storage: {clip} (input_path)" in out and "writes to shared storage: s3://films/out.npy" in out


@pytest.mark.parametrize("verb", [["info"], ["sheet"], ["report"]])
def test_a_film_in_s3_is_read_as_a_local_one(
    s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rendered(tmp_path)
    said = []
    for film in (str(tmp_path / "out.npy"), s3.url("out.npy")):
        s3.put("out.npy", (tmp_path / "out.npy").read_bytes())
        s3.put("out.npy.json", (tmp_path / "out.npy.json").read_bytes())
        assert main([*verb, film]) == 0
        said.append(capsys.readouterr().out.replace(f"{tmp_path}/", ""))
        for picture in (*tmp_path.glob("*.png"), *tmp_path.glob("*.html")):
            said[-1] += str(picture.read_bytes())
            picture.unlink()
    assert said[0] == said[1] != ""


def test_films_in_s3_are_compared(s3: S3, tmp_path: Path) -> None:
    s3.put("out.npy", rendered(tmp_path))
    assert main(["compare", s3.url("out.npy"), str(tmp_path / "out.npy")]) == 0
    rendered(tmp_path, prompt="a dog")
    assert main(["compare", s3.url("out.npy"), str(tmp_path / "out.npy")]) == 1
