"""What a plan says of the outputs, and of the engine, beyond its chunks."""

from __future__ import annotations

import pytest

from scope_batch.job import Job, load_text
from scope_batch.prepare import outputs_of, plan_document, prepare, unused_by_outputs


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
def test_what_no_output_can_take_is_a_warning(text: str, warning: str) -> None:
    made = job(text)
    assert unused_by_outputs(made, outputs_of(made)) == (warning,)


def test_outputs_of_the_command_line_count_instead() -> None:
    made = job("video: {crf: 20}\noutput: {path: a.mp4, crf: 9}")
    assert unused_by_outputs(made, outputs_of(made, ["b.mp4"]), ["b.mp4"]) == ()
    assert len(unused_by_outputs(made, outputs_of(made, ["b.npy"]), ["b.npy"])) == 1


def test_the_document_holds_what_no_chunk_shows() -> None:
    made = job("vae_type: tae\nnoise_device: cuda\noutput: {path: a.mp4, crf: 9}")
    document = plan_document(made, prepare(made), outputs_of(made))
    assert (document["vae_type"], document["noise_device"], document["audio"]) == ("tae", "cuda", "none")
    (output,) = document["outputs"]
    assert (output["path"], output["format"], output["codec"], output["crf"]) == ("a.mp4", "mp4", "libx264", 9)
