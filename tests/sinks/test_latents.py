import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from scope_batch.errors import Interrupted, JobError, OutputError
from scope_batch.sinks.latents import LatentsSink, read_latents_job
from scope_batch.sinks.output_set import SinkSettings


def test_every_chunks_latents_are_saved_untrimmed(tmp_path: Path, render):
    path = tmp_path / "a.safetensors"
    render(tmp_path / "a.npy", num_frames=22, settings=SinkSettings(latents=path))
    tensors = load_file(path)
    assert list(tensors) == ["chunk_00000", "chunk_00001", "chunk_00002"]
    assert tensors["chunk_00002"].shape == (3, 16, 8, 12) and (tensors["chunk_00002"] == 2).all()
    with safe_open(path, "np") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items()}
    assert metadata == {"first_frame": [0, 9, 21], "keep": [9, 12, 1], "cut": ["start", None, None]}


def test_a_partial_names_only_the_chunks_it_holds(tmp_path: Path, make_plan, fake_chunk, names, publish):
    plan = make_plan(60)
    with pytest.raises(Interrupted), publish(LatentsSink, tmp_path / "a.safetensors", plan) as sink:
        for chunk in plan.chunks[:2]:
            sink.write(fake_chunk(chunk).latents())
        raise Interrupted(2)
    assert names() == ["a.partial.safetensors"]
    assert list(load_file(tmp_path / "a.partial.safetensors")) == ["chunk_00000", "chunk_00001"]


def test_latents_of_another_shape_or_none_are_refused(
    tmp_path: Path, make_plan, render, fake_chunk, monkeypatch, publish
):
    with (
        pytest.raises(OutputError, match="float64"),
        publish(LatentsSink, tmp_path / "a.safetensors", make_plan(9)) as sink,
    ):
        sink.write(np.zeros((3, 16, 8, 12)))
    monkeypatch.setattr(fake_chunk, "latents", lambda _: None)
    with pytest.raises(JobError, match="has no latents"):
        render(tmp_path / "a.npy", settings=SinkSettings(latents=tmp_path / "a.safetensors"))


def test_its_extension_is_checked(tmp_path: Path, render):
    with pytest.raises(JobError, match=r"allowed: \.safetensors"):
        render(tmp_path / "a.npy", settings=SinkSettings(latents=tmp_path / "a.pt"))


def test_latents_are_bound_to_their_job_by_a_hash(tmp_path: Path, render):
    path = tmp_path / "a.safetensors"
    render(tmp_path / "a.npy", num_frames=22, settings=SinkSettings(latents=path, metadata='{"job": "a cat"}'))
    assert read_latents_job(path) == '{"job": "a cat"}' and len(load_file(path)) == 3
    with path.open("r+b") as file:
        file.seek(-10, 2)
        file.write(b"x")
    assert read_latents_job(path) is None
    for content in (b"", b"text that is no safetensors file", b"\x02" + bytes(7) + b"{}"):
        path.write_bytes(content)
        assert read_latents_job(path) is None
    assert read_latents_job(tmp_path / "none.safetensors") is None
