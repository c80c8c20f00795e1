"""Tests that valid jobs are read with the right values."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.job import ChunkSpec, Job, check_inputs, load_job, load_text, parse_job
from scope_batch.job.schedule import Schedule


def job(text: str, *overrides: str, **environ: str) -> Job:
    return load_text(f"prompt: a\n{text}", name="j", folder=Path("/jobs"), overrides=overrides, environ=environ)


def test_the_smallest_job_has_the_documented_defaults() -> None:
    loaded = job("")
    assert (loaded.pipeline_id, loaded.num_frames, loaded.seed, loaded.manage_cache) == (
        "longlive",
        64,
        Schedule((42,)),
        True,
    )
    assert (loaded.height, loaded.noise_scale, loaded.fps, loaded.output) == (None, None, None, ())
    assert loaded.prompt[0].text == "a"


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("fps: 16", "fps", Fraction(16)),
        ("fps: 29.97", "fps", Fraction(2997, 100)),
        ("fps: 30000/1001", "fps", Fraction(30000, 1001)),
        ("input_fps: 12", "input_fps", Fraction(12)),
        ("input_start: 1:02.5", "input_start", 62.5),
        ("input_start: 1:00:02", "input_start", 3602.0),
        ("noise_scale: 1", "noise_scale", Schedule((1.0,))),
        ("noise_scale: [0.8, .7, 1e-1]", "noise_scale", Schedule((0.8, 0.7, 0.1))),
        ("denoising_steps: [1000, 500]", "denoising_steps", (1000, 500)),
        ("seed: 9007199254740992", "seed", Schedule((2**53,))),
        ("models: tiny", "models", "tiny"),
        ("models: ./tiny", "models", Path("/jobs/tiny")),
        ("input_path: clips/a.mp4", "input_path", Path("/jobs/clips/a.mp4")),
        ("input_path: /a.mp4", "input_path", Path("/a.mp4")),
        ("input_path: ~/a.mp4", "input_path", Path.home() / "a.mp4"),
        ("audio: none", "audio", "none"),
        ("audio: a.wav", "audio", Path("/jobs/a.wav")),
        ("cuts: null", "cuts", "warn"),
    ],
)
def test_a_field_becomes_its_value(text: str, field: str, value: object) -> None:
    assert getattr(job(text), field) == value


def test_a_schedule_repeats_its_last_number() -> None:
    assert [Schedule((1, 2)).at(chunk) for chunk in range(4)] == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("output: out/a.mp4", ["out/a.mp4"]),
        ("output: {path: a.mkv, codec: ffv1}", ["a.mkv"]),
        ("output: [a.mp4, {path: b.npy}, '-']", ["a.mp4", "b.npy", "-"]),
    ],
)
def test_outputs_stay_as_written(text: str, paths: list[str]) -> None:
    assert [output.path for output in job(text).output] == paths


def test_a_field_of_a_missing_feature_may_hold_its_default() -> None:
    text = "vace_context_scale: 1\nvace_ref_images: []\nlora_scales: {}\nquantization: null\nvae_type: lightvae"
    assert job(f"{text}\nchunk_grid: engine\nchunk_specs: [{{chunk: 0, vace_temporally_locked: true}}]")


def test_a_request_body_is_a_job() -> None:
    body = {
        "pipeline_id": "longlive",
        "prompt": "a cat \U0001f408",
        "num_frames": 96,
        "chunk_specs": [{"chunk": 3, "text": "jumps", "lora_scales": None, "reset_cache": False}],
        "data_blob_path": None,
    }
    loaded = load_text(json.dumps(body, separators=(",", ":")), name="body.json")
    assert loaded.canonical_json() == parse_job(body).canonical_json()
    assert loaded.prompt[0].text == "a cat \U0001f408"


def test_values_of_python_objects_are_checked_too() -> None:
    loaded = Job(prompt="a", chunk_specs=[ChunkSpec(chunk=1, text="b")], seed=7)  # type: ignore[arg-type]
    assert loaded.canonical_json() == job("chunk_specs: [{chunk: 1, text: b}]\nseed: 7").canonical_json()
    with pytest.raises(JobError, match=r"^quantization: must be 'fp8_e4m3fn', not 'int4'$"):
        parse_job({"prompt": "a", "quantization": "int4"})
    with pytest.raises(JobError, match=r"^chunk_specs\[1\]\.chunk: chunk 1 has an entry already: chunk_specs\[0\]$"):
        parse_job({"prompt": "a", "chunk_specs": [{"chunk": 1}, {"chunk": 1}]})


def test_prompts_of_the_first_revision_join_the_entries() -> None:
    loaded = job("chunk_specs: [{chunk: 1, seed: 3}]\nchunk_prompts:\n- {chunk: 1, text: b}\n- {chunk: 2, text: c}")
    assert [(entry.chunk, entry.text, entry.seed) for entry in loaded.chunk_specs] == [(1, "b", 3), (2, "c", None)]
    assert loaded.where("chunk_specs", 1, "text") == "j:5:14"
    with pytest.raises(JobError, match=r"^j:3:25: .*chunk 1 has an entry already in line 2$"):
        job("chunk_specs: [{chunk: 1, text: b}]\nchunk_prompts: [{chunk: 1, text: c}]")


@pytest.mark.parametrize(
    ("entry", "texts"),
    [
        ("text: b", ["b"]),
        ("prompts: [{text: b}, {text: c, weight: 2}]", ["b", "c"]),
        ("transition_target_prompts: [{text: b}]", ["b"]),
        ("seed: 1", None),
    ],
)
def test_an_entry_leads_to_its_target(entry: str, texts: list[str] | None) -> None:
    (spec,) = job(f"chunk_specs:\n- chunk: 1\n  {entry}").chunk_specs
    assert (spec.target and [prompt.text for prompt in spec.target]) == texts


def test_yaml_is_read_as_1_2_with_merges() -> None:
    loaded = job("chunk_specs:\n- &b {chunk: 1, seed: 5, text: no}\n- {<<: *b, chunk: 0x2, seed: 6}")
    assert [(entry.chunk, entry.seed, entry.text) for entry in loaded.chunk_specs] == [(1, 5, "no"), (2, 6, "no")]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("${A}", "x"),
        ("'${A} costs $5'", "x costs $5"),
        ("${NO:-a default}", "a default"),
        ("${EMPTY:-d}", "d"),
        ("$${A}", "${A}"),
        ("${SEVEN}", "7"),
    ],
)
def test_variables_in_texts(written: str, text: str) -> None:
    loaded = job(f"chunk_specs:\n- chunk: 1\n  text: {written}", A="x", EMPTY="", SEVEN="7")
    assert loaded.chunk_specs[0].text == text


def test_a_variable_may_stand_for_a_number_unless_quoted() -> None:
    assert job("seed: ${S}", S="7").seed.at(0) == 7
    with pytest.raises(JobError, match="must be a whole number"):
        job("seed: '${S}'", S="7")


def test_overrides_replace_values_the_later_wins() -> None:
    loaded = job("chunk_specs: [{chunk: 1, text: b}]", "chunk_specs.0.text=c: d # e", "seed=1", "seed=[2, 3]")
    assert loaded.chunk_specs[0].text == "c: d # e"
    assert loaded.seed == Schedule((2, 3))
    assert job("", "chunk_specs.0.chunk=1", "chunk_specs.1.chunk=2", "video.crf=3").chunk_specs[1].chunk == 2


def test_an_override_is_relative_to_the_working_directory_and_replaces_an_unset_variable() -> None:
    assert job("input_path: ${NO}", "input_path=a.mp4").input_path == Path.cwd() / "a.mp4"


def test_the_hash_text_ignores_spelling_and_defaults() -> None:
    assert job("num_frames: 64\nseed: 42\ncuts: warn").canonical_json() == job("").canonical_json()
    assert job("seed: 43").canonical_json() != job("").canonical_json()


def test_the_public_job_has_no_folders_and_no_values_of_variables() -> None:
    text = "input_path: ${D}/c.mp4\noutput: ${D}/o.mp4\nmodels: /m/set\nchunk_prompts: [{chunk: 1, text: '${T}'}]"
    public = job(
        f"{text}\naudio: ${{X:-/home/me/s.wav}}\nseed: ${{S}}", D="/secret", T="secret", S="77"
    ).to_public_dict()
    assert public["input_path"] == "c.mp4"
    assert (public["models"], public["audio"], public["seed"]) == ("set", "${X}", "${S}")
    assert "secret" not in json.dumps(public)


def test_a_public_job_can_be_read_again() -> None:
    loaded = job("chunk_specs: [{time: 1.5, prompts: [{text: b}]}]\nfps: 24\nnoise_scale: [0.5, 0.6]")
    assert parse_job(loaded.to_public_dict()).canonical_json() == loaded.canonical_json()


def test_a_file_knows_its_name_and_folder(tmp_path: Path) -> None:
    file = tmp_path / "cat.yaml"
    file.write_text("\ufeffprompt: a\ninput_path: c.mp4\n", encoding="utf-8")
    loaded = load_job(file, models="tiny")
    assert (loaded.source.stem, loaded.models, loaded.input_path) == ("cat", "tiny", tmp_path / "c.mp4")
    assert loaded.where("input_path") == f"{file}:2:1"
    with pytest.raises(MissingInputError, match=r"cat.yaml:2:1: input_path: no such file: .*c.mp4"):
        check_inputs(loaded)
    (tmp_path / "c.mp4").touch()
    check_inputs(loaded)


def test_a_missing_job_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such job file"):
        load_job(tmp_path / "x.yaml")
    with pytest.raises(MissingInputError, match="Is a directory"):
        load_job(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"), [(b"a" * (4 * 2**20 + 1), "4 MiB"), (b"prompt: a\n\xff", ":2:1: not UTF-8")]
)
def test_a_file_that_is_not_a_job(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "j.yaml").write_bytes(data)
    with pytest.raises(JobError, match=message):
        load_job(tmp_path / "j.yaml")


def test_a_job_from_standard_input(tmp_path: Path) -> None:
    code = "from scope_batch.job import load_job; j = load_job('-'); print(j.source.name, j.input_path)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="prompt: a\ninput_path: c.mp4",
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ,
    )
    assert done.stdout.strip() == f"stdin {tmp_path}/c.mp4"
