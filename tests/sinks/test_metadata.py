import json
from pathlib import Path

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.sinks.metadata import metadata_text, read_metadata
from scope_batch.sinks.open import SinkSettings

JOB = {"prompt": "a=b;c#d\\e\nf 猫 \ud800 /not/a/path", "seed": 3, "input_path": "clip.mp4"}


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.nut", "a.npy"])
def test_the_job_comes_back_from_every_format(tmp_path: Path, render, name):
    job = JOB | {"filler": "x=" * 60_000}
    render(tmp_path / name, num_frames=2, settings=SinkSettings(metadata=metadata_text(job)))
    document = read_metadata(tmp_path / name)
    assert document["digitalSourceType"] == "trainedAlgorithmicMedia"
    assert document["job"] == job


def test_every_png_of_a_sequence_carries_the_job(tmp_path: Path, render):
    render(tmp_path / "%d.png", num_frames=2, settings=SinkSettings(metadata=metadata_text(JOB)))
    assert read_metadata(tmp_path / "1.png")["job"]["seed"] == 3


def test_a_partial_has_its_sidecar_and_success_takes_it_away(tmp_path: Path, render, names):
    def stop(*_):
        raise ValueError

    settings = SinkSettings(metadata=metadata_text(JOB))
    with pytest.raises(ValueError):
        render(tmp_path / "a.npy", between=stop, settings=settings)
    assert names() == ["a.partial.npy", "a.partial.npy.json"]
    render(tmp_path / "a.npy", settings=settings)
    assert names() == ["a.npy", "a.npy.json"]


def test_without_metadata_nothing_is_said_and_an_old_sidecar_goes(tmp_path: Path, render, names):
    (tmp_path / "a.npy.json").write_text("{}")
    render(tmp_path / "a.npy", tmp_path / "a.mp4", settings=SinkSettings(overwrite=True))
    assert names() == ["a.mp4", "a.npy"]
    for name in names():
        with pytest.raises(JobError, match="carries no scope-batch job"):
            read_metadata(tmp_path / name)


def test_the_document_is_one_line_and_names_its_inputs_by_content():
    text = metadata_text(JOB, {"input_path": "ab12"})
    assert "\n" not in text and json.loads(text)["job"]["prompt"] == JOB["prompt"]
    assert json.loads(text)["inputs_sha256"] == {"input_path": "ab12"}


def test_what_is_missing_or_unreadable_is_told(tmp_path: Path):
    with pytest.raises(MissingInputError):
        read_metadata(tmp_path / "a.mp4")
    for name in ("a.mp4", "a.png"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(JobError, match="is not a readable"):
            read_metadata(tmp_path / name)
