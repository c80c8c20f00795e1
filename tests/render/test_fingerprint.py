"""Tests of the identification of inputs by content."""

from __future__ import annotations

import json
from pathlib import Path

from scope_batch.checkpoint.provenance import differences
from scope_batch.job import Job, load_text
from scope_batch.render.engine_pool import request_of
from scope_batch.render.fingerprint import (
    input_digests,
    job_sha256,
    package_versions,
    provenance_of,
    sha256_of,
)
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job
from scope_batch.sinks.metadata import read_metadata


def job_in(folder: Path, **fields: object) -> Job:
    return load_text(json.dumps({"prompt": "a", **fields}), name="job.yaml", folder=folder)


def test_every_input_is_identified_by_its_field(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.npy", "c.png", "d.safetensors", "e.png"):
        (tmp_path / name).write_text(name)
    job = job_in(
        tmp_path,
        input_path="a.mp4",
        lora_scales={"d.safetensors": 1.0},
        vace_ref_images=["e.png"],
        chunk_specs=[{"chunk": 1, "vace_frames": "b.npy", "first_frame_image": "c.png"}],
    )
    assert {place: sha256_of(tmp_path / name) for place, name in PLACES.items()} == input_digests(job)


PLACES = {
    "input_path": "a.mp4",
    "vace_ref_images[0]": "e.png",
    "lora_scales.d.safetensors": "d.safetensors",
    "chunk_specs[0].vace_frames": "b.npy",
    "chunk_specs[0].first_frame_image": "c.png",
}


def test_loras_of_one_name_are_identified_one_by_one(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.safetensors").write_text(folder)
    job = job_in(tmp_path, lora_scales={"b/x.safetensors": 1.0}, chunk_specs=[{"chunk": 1, "lora_scales": BOTH}])
    names = [place.removeprefix("chunk_specs[0].") for place in input_digests(job)]
    assert names == [f"lora_scales.{name}" for name in ("x-2.safetensors", "x.safetensors", "x.safetensors")]
    assert [*input_digests(job).values()] == [sha256_of(tmp_path / folder / "x.safetensors") for folder in "abb"]
    assert {*job.to_public_dict()["chunk_specs"][0]["lora_scales"]} == {"x.safetensors", "x-2.safetensors"}


BOTH = {"a/x.safetensors": 0.5, "b/x.safetensors": 0.5}


def test_the_folder_of_inputs_does_not_change_the_digest_of_a_job(tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    fields = {"vace_frames": "b.npy", "lora_scales": {"d.safetensors": [0, 1]}}
    here, there = (job_sha256(job_in(folder, **fields)) for folder in (tmp_path, tmp_path / "moved"))
    assert here == there != job_sha256(job_in(tmp_path, **fields | {"vace_frames": "other.npy"}))


def test_another_speed_is_another_job_and_other_chunks(tmp_path: Path) -> None:
    exact, high = (job_in(tmp_path, pipeline_id="slate", speed=speed) for speed in ("exact", "high"))
    assert job_sha256(exact) == job_sha256(job_in(tmp_path, pipeline_id="slate")) != job_sha256(high)
    plan = prepare_job(exact)
    old, new = (provenance_of(plan, request_of(job, plan, RenderOptions())).engine for job in (exact, high))
    assert [str(change) for change in differences(old, new)] == ["speed: nothing -> high"]


def test_the_digest_of_a_peft_lora_includes_its_settings(tmp_path: Path) -> None:
    lora, settings = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    lora.write_text("weights")
    alone = sha256_of(lora)
    settings.write_text('{"lora_alpha": 8}')
    eight = sha256_of(lora)
    settings.write_text('{"lora_alpha": 4}')
    assert len({alone, eight, sha256_of(lora)}) == 3


def test_an_output_tells_the_environment_and_its_chunks(tmp_path: Path) -> None:
    job = job_in(tmp_path, pipeline_id="slate", num_frames=12, height=64, width=64)
    render_job(job, options=RenderOptions(outputs=(str(tmp_path / "a.npy"),)))
    document = read_metadata(tmp_path / "a.npy")
    assert document["environment"] == package_versions()
    assert document["film"] == {"fps": "16", "chunk_frames": [[9, 1], [3, 1]], "prompts": [[0, "a"]], "cuts": []}
