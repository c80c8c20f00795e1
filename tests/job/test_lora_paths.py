from __future__ import annotations

import json
from pathlib import Path

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.job import Job, check_inputs, load_text, parse_job


def job(text: str, *overrides: str, folder: Path = Path("/jobs")) -> Job:
    return load_text(f"prompt: a\n{text}", name="j", folder=folder, overrides=overrides, environ={})


def problems(text: str, *overrides: str, folder: Path = Path("/jobs")) -> tuple[str, ...]:
    with pytest.raises(JobError) as caught:
        job(text, *overrides, folder=folder)
    return caught.value.problems


def test_keys_start_at_the_folder_of_their_text_and_keep_their_lines() -> None:
    loaded = job("lora_scales:\n  l/a.safetensors: 1\nchunk_specs:\n- {chunk: 1, lora_scales: {./l/a.safetensors: 2}}")
    assert list(loaded.lora_scales) == ["/jobs/l/a.safetensors"]
    assert loaded.chunk_specs[0].lora_scales == {"/jobs/l/a.safetensors": 2}
    assert loaded.where("lora_scales", "/jobs/l/a.safetensors") == "j:3:3"


def test_a_key_on_the_command_line_starts_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = job("lora_scales: {a.safetensors: 1}", "lora_scales.'a.safetensors'=2", folder=tmp_path)
    assert [schedule.values for schedule in loaded.lora_scales.values()] == [(2,)]
    loaded = job("lora_scales: {a.safetensors: 1}", "lora_scales.'a.safetensors'=2")
    assert list(loaded.lora_scales) == ["/jobs/a.safetensors", str(tmp_path / "a.safetensors")]
    loaded = job("", "lora_scales={b.safetensors: {0: 0.0, 9: 1.0}}", folder=tmp_path)
    assert list(loaded.lora_scales) == [str(tmp_path / "b.safetensors")]


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    loaded = job("lora_scales: {~/a.safetensors: 1}")
    assert loaded.where("lora_scales", "/home/me/a.safetensors") == "j:2:15"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("lora_scales: {a.pt: 1}",
         "j:2:15: lora_scales.a.pt: a LoRA is a .safetensors file, not .pt"),
        ("lora_scales: {a: 1}",
         "j:2:15: lora_scales.a: a LoRA is a .safetensors file, not one without a suffix"),
        ("lora_scales: {'': 1}", "j:2:15: lora_scales.'': must be a path, not empty"),
        ("lora_scales: {~nobody-here/a.safetensors: 1}",
         "j:2:15: lora_scales.a.safetensors: unknown user: '~nobody-here/a.safetensors'"),
        ("lora_scales: {a.safetensors: 11}",
         "j:2:30: lora_scales.a.safetensors: must be a number in -10..10, not 11"),
        ("lora_scales: {a.safetensors: '0:(speed)'}",
         "j:2:30: lora_scales.a.safetensors: 'speed' is unknown; "
         "the names are chunk, e, max_f, pi, s, sec, t"),
        ("lora_scales: {a.safetensors: 1, ./a.safetensors: 2}",
         "j:2:33: lora_scales.a.safetensors: the file is listed twice, first in line 2"),
        ("lora_scales: {a.safetensors: 1, x/../a.safetensors: 2}",
         "j:2:33: lora_scales.a.safetensors: the same file is already in the list, as /jobs/a.safetensors"),
        ("lora_scales: [a.safetensors]", "j:2:14: lora_scales: must be a map {file.safetensors: scale}, not a list"),
        ("chunk_specs: [{chunk: 1, lora_scales: {a.safetensors: [0, 1]}}]",
         "j:2:55: chunk_specs[0].lora_scales.a.safetensors: must be a number, not a list"),
        ("chunk_specs: [{chunk: 1, lora_scales: {a.ckpt: 1}}]",
         "j:2:40: chunk_specs[0].lora_scales.a.ckpt: a LoRA is a .safetensors file, not .ckpt"),
    ],
)  # fmt: skip
def test_a_bad_key_or_scale_is_one_line(text: str, line: str) -> None:
    assert problems(text) == (line,)


def test_a_file_that_does_not_exist_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    text = "lora_scales: {a.safetensors: 1}\nchunk_specs:\n- {chunk: 1, lora_scales: {b.safetensors: 1}}"
    with pytest.raises(MissingInputError) as caught:
        check_inputs(job(text, folder=tmp_path))
    assert str(caught.value).startswith("j:4:28: chunk_specs[0].lora_scales: no such file: ")
    assert str(caught.value).endswith(f"no such file: {tmp_path / 'b.safetensors'}")


def test_metadata_holds_base_names_and_numbers_files_of_one_name() -> None:
    text = "lora_scales: {x/a.safetensors: 1, y/a.safetensors: {0: 0, 9: 1}}\n"
    public = job(f"{text}chunk_specs: [{{chunk: 1, lora_scales: {{y/a.safetensors: 3}}}}]").to_public_dict()
    assert public["lora_scales"] == {"a.safetensors": 1, "a-2.safetensors": {"0": 0, "9": 1}}
    assert public["chunk_specs"][0]["lora_scales"] == {"a-2.safetensors": 3}
    assert "/jobs" not in json.dumps(public)


def test_a_job_with_loras_survives_its_canonical_form() -> None:
    loaded = job("lora_scales: {a.safetensors: '0:(0), max_f:(1)', b.safetensors: [0, 1]}")
    assert parse_job(json.loads(loaded.canonical_json())).canonical_json() == loaded.canonical_json()
