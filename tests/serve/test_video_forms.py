"""Forms: what their fields mean, and who may send one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.uploads import BLOCK_BYTES, UploadLimits, Uploads
from scope_batch.serve.video_forms import read_form
from tests.serve.bodies import GONE, STALLED, request_of

HEADERS = {"Content-Type": "multipart/form-data; boundary=b"}


def part(name: str, text: str, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{text}\r\n'.encode()


def read(tmp_path: Path, *parts: bytes | str, headers: dict[str, str] = HEADERS, **limits: int) -> Any:
    uploads = Uploads(tmp_path / "uploads", UploadLimits(**{"file_bytes": 10_000, **limits}))
    request = request_of([*parts, b"--b--\r\n"], headers)
    return asyncio.run(read_form(request, uploads, 0.05))


@pytest.mark.parametrize(
    ("name", "text", "fields"),
    [
        ("prompt", "7", {"prompt": "7"}),
        ("seconds", "4", {"seconds": "4"}),
        ("seed", "7", {"seed": 7}),
        ("manage_cache", "false", {"manage_cache": False}),
        ("noise_scale[0]", "0.5", {"noise_scale": {"0": 0.5}}),
        ("denoising_steps[]", "1000", {"denoising_steps": [1000]}),
        ("lora_scales[a.safetensors]", "0:(1)", {"lora_scales": {"a.safetensors": "0:(1)"}}),
        ("a[b][c][]", "1", {"a": {"b": {"c": [1]}}}),
        ("chunk_specs", '[{"chunk": 0, "text": "1"}]', {"chunk_specs": [{"chunk": 0, "text": "1"}]}),
        ("seed", "NaN", {"seed": "NaN"}),
        ("vace_frames", "7", {"vace_frames": "7"}),
    ],
)
def test_a_field_is_text_or_json(tmp_path: Path, name: str, text: str, fields: dict[str, Any]) -> None:
    assert read(tmp_path, part(name, text)) == fields


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["seed", "seed"], "is given twice"),
        (["a[]", "a[b]"], "as something else"),
        (["a", "a[]"], "as something else"),
        (["a", "a[b]"], "as something else"),
        (["a[][b]"], "send the list as JSON text"),
        (["a]b"], "is no name of a field"),
        ([""], "is no name of a field"),
        (["a[b"], "is no name of a field"),
    ],
)
def test_a_field_that_cannot_be_told_is_refused(tmp_path: Path, parts: list[str], message: str) -> None:
    with pytest.raises(JobError, match=message):
        read(tmp_path, *(part(name, "1") for name in parts))


def test_the_file_becomes_an_upload(tmp_path: Path) -> None:
    fields = read(tmp_path, part("input_reference", "data", '; filename="../x.png"'))
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [f"{fields['input_reference']}.bin"]
    assert (tmp_path / "uploads" / f"{fields['input_reference']}.bin").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("parts", "headers", "status"),
    [
        ([b"nonsense"], HEADERS, 400),
        ([b"--b\r\n"], {"Content-Type": "multipart/form-data"}, 400),
        ([part("seed", "1")[:20], GONE], HEADERS, 400),
        ([part("seed", "1")[:20], STALLED], HEADERS, 408),
        ([part("input_reference", "xx", '; filename="x"')[:-3], GONE], HEADERS, 400),
        ([part("input_reference", "xx", '; filename="x"')[:-3], STALLED], HEADERS, 408),
        ([part("input_reference", 10_000 * "x", '; filename="x"')], HEADERS, 413),
        ([part("input_reference", "", '; filename="x"')], HEADERS, 400),
        ([part("input_reference", "x", '; filename="x"'), part("b", "x", '; filename="x"')], HEADERS, 400),
    ],
    ids=[
        "nonsense",
        "no boundary",
        "cut off",
        "stalled",
        "cut off in the file",
        "stalled in the file",
        "long",
        "empty file",
        "two files",
    ],
)
def test_a_form_that_is_broken_leaves_no_file(
    tmp_path: Path, parts: list[bytes | str], headers: dict[str, str], status: int
) -> None:
    with pytest.raises(HttpProblem) as caught:
        read(tmp_path, *parts, headers=headers)
    assert caught.value.status == status
    assert [*(tmp_path / "uploads").iterdir()] == []


def test_the_files_of_forms_count_among_all_uploads(tmp_path: Path) -> None:
    file = part("input_reference", 60 * "x", '; filename="x"')
    read(tmp_path, file, all_bytes=100)
    with pytest.raises(HttpProblem, match="--max-uploads"):
        read(tmp_path, file, all_bytes=100)
    assert len([*(tmp_path / "uploads").iterdir()]) == 1


def test_a_file_that_finds_no_room_ends_while_it_arrives(tmp_path: Path) -> None:
    start = part("input_reference", 200 * "x", '; filename="x"')
    with pytest.raises(HttpProblem, match="--max-uploads") as caught:
        read(tmp_path, start[:-2], STALLED, all_bytes=100)
    assert (caught.value.status, [*(tmp_path / "uploads").iterdir()]) == (507, [])


def test_a_large_file_arrives_in_the_folder_of_the_uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no such folder"))
    data = 3 * BLOCK_BYTES * "x"
    file = part("input_reference", data, '; filename="x"')
    fields = read(tmp_path, *(file[at : at + 700_000] for at in range(0, len(file), 700_000)), file_bytes=1 << 24)
    path = tmp_path / "uploads" / f"{fields['input_reference']}.bin"
    assert (path.read_text() == data, path.stat().st_mode & 0o777) == (True, 0o400)


@pytest.mark.parametrize("names", [["prompt", "prompt"], ["a]b"], ["seed[]", "seed"]])
def test_a_form_with_a_field_that_is_refused_leaves_no_file(tmp_path: Path, names: list[str]) -> None:
    file = part("input_reference", "data", '; filename="x"')
    with pytest.raises(JobError):
        read(tmp_path, file, *(part(name, "1") for name in names))
    assert [*(tmp_path / "uploads").iterdir()] == []


def test_the_texts_of_a_form_are_as_long_as_a_json_body_at_most(tmp_path: Path) -> None:
    parts = [part(f"a{number}", (1 << 20) * "x") for number in range(5)]
    with pytest.raises(HttpProblem, match="fields of a form") as caught:
        read(tmp_path, *parts, file_bytes=1 << 24)
    assert caught.value.status == 413
    assert len(read(tmp_path, *parts[:4], file_bytes=1 << 24)) == 4


def test_a_file_and_a_handle_in_one_form_are_refused(tmp_path: Path) -> None:
    file = part("input_reference", "data", '; filename="x"')
    with pytest.raises(JobError, match="is given twice"):
        read(tmp_path, part("input_reference", "file-0"), file)


@pytest.mark.parametrize("name", ["prompt", "extra_body", "seed", "\\ud800"])
def test_half_a_surrogate_pair_is_refused(tmp_path: Path, name: str) -> None:
    headers = {"Content-Type": HEADERS["Content-Type"] + "; charset=unicode_escape"}
    with pytest.raises(JobError) as caught:
        read(tmp_path, part(name, '{"a": "\\ud800"}'), headers=headers)
    str(caught.value).encode()


def test_half_a_surrogate_pair_in_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is half of a character"):
        read(tmp_path, part("chunk_specs", r'[{"chunk": 0, "\ud800": "a"}]'))


def test_half_a_surrogate_pair_in_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"^body: .*ud800.* is half of a character"):
        read(tmp_path, part("extra_body", '{"prompt": "\\ud800p"}'))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a" + 50 * "[b]", "1"), ("a" + 900 * "[b]", "1"), ("a", 900 * "[" + 900 * "]"), ("a[b]", 49 * "[" + 49 * "]")],
    ids=["50 names", "900 names", "900 lists", "49 lists in a map"],
)
def test_a_field_that_is_nested_too_deep_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(JobError, match="more than 50 levels"):
        read(tmp_path, part(name, text))


def test_a_file_in_another_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="takes no file"):
        read(tmp_path, part("prompt", "data", '; filename="x"'))
