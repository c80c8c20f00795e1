"""Tests of the plan's warnings, of its document and of errors in inputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from scope_batch.errors import JobError, UnavailableError
from scope_batch.job import Job, load_text
from scope_batch.media.validate import check_material
from scope_batch.render.prepare import outputs_of, places_of_inputs, plan_document, prepare_job, unused_by_outputs


def job(text: str) -> Job:
    return load_text(f"prompt: a\npipeline_id: slate\n{text}", name="j")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("video: {crf: 20}\noutput: a.npy",
         "j:3:9: video.crf has no effect: no output is compressed video (a.npy)"),
        ("video: {crf: 20}\noutput: {path: a.mp4, crf: 9}",
         "j:3:9: video.crf has no effect: every compressed output has its own crf"),
        ("audio: a.wav\noutput: [a.npy, 'f/%05d.png']",
         "j:3:1: audio has no effect: no output carries sound (a.npy, f/%05d.png)"),
    ],
)  # fmt: skip
def test_settings_that_no_output_uses_are_warnings(text: str, warning: str) -> None:
    parsed = job(text)
    assert unused_by_outputs(parsed, outputs_of(parsed)) == (warning,)


def test_outputs_of_the_command_line_count_instead() -> None:
    parsed = job("video: {crf: 20}\noutput: {path: a.mp4, crf: 9}")
    assert unused_by_outputs(parsed, outputs_of(parsed, ["b.mp4"]), ["b.mp4"]) == ()
    assert len(unused_by_outputs(parsed, outputs_of(parsed, ["b.npy"]), ["b.npy"])) == 1


def test_the_document_holds_engine_settings_and_outputs() -> None:
    parsed = job("vae_type: tae\nspeed: high\nnoise_device: cuda\noutput: {path: a.mp4, crf: 9}")
    document = plan_document(parsed, prepare_job(parsed), outputs_of(parsed))
    assert (document["vae_type"], document["noise_device"], document["audio"]) == ("tae", "cuda", "none")
    assert document["speed"] == "high"
    (output,) = document["outputs"]
    assert (output["path"], output["format"], output["codec"], output["crf"]) == ("a.mp4", "mp4", "libx264", 9)


@pytest.mark.parametrize("field", ["input_path", "vace_frames", "first_frame_image", "last_frame_image", "audio"])
def test_a_damaged_file_is_reported_with_its_field(field: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"hello")
    with pytest.raises(JobError, match=rf"^j:3:1: {field}: bad\.png: "):
        prepare_job(load_text(f"prompt: a\npipeline_id: slate\n{field}: bad.png", name="j", folder=tmp_path))


def test_a_models_file_is_reported_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "base.pt").write_bytes(b"x")
    text = "prompt: a\nmodels: base.pt"
    with pytest.raises(
        UnavailableError, match=r"^j:2:1: models: .*base\.pt is a file; a folder of model files is needed$"
    ):
        prepare_job(load_text(text, name="j", folder=tmp_path))
    with pytest.raises(UnavailableError, match=r"^--models: .*base\.pt is a file"):
        prepare_job(load_text(text, name="j", models=str(tmp_path / "base.pt")))


def test_a_cropped_still_is_reported_with_its_field(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    os.truncate(tmp_path / "cut.png", 900)
    text = "prompt: a\npipeline_id: slate\nchunk_specs: [{chunk: 0, vace_ref_images: [cut.png]}]"
    job = load_text(text, name="j", folder=tmp_path)
    with pytest.raises(JobError, match=r"^j:3:44: chunk_specs\[0\]\.vace_ref_images\[0\]: cut\.png: is damaged"):
        check_material(prepare_job(job), places_of_inputs(job))


def test_words_that_the_tiny_models_do_not_know_are_one_warning() -> None:
    text = "prompt: a red robot\nmodels: {}\npipeline_id: {}\nnum_frames: 9\nheight: 64\nwidth: 64"
    (warning,) = prepare_job(load_text(text.format("tiny", "longlive"), name="j")).warnings
    assert warning.startswith("models: tiny does not know: robot (")
    assert prepare_job(load_text(text.format("tiny", "slate"), name="j")).warnings == ()
    assert prepare_job(load_text(text.format("random", "longlive"), name="j")).warnings == ()
