"""Forms: what their fields mean, and who may send one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.uploads import UploadLimits, Uploads
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
        ([part("input_reference", 10_000 * "x", '; filename="x"')], HEADERS, 413),
        ([part("input_reference", "", '; filename="x"')], HEADERS, 400),
        ([part("input_reference", "x", '; filename="x"'), part("b", "x", '; filename="x"')], HEADERS, 400),
    ],
    ids=["nonsense", "no boundary", "cut off", "stalled", "long", "empty file", "two files"],
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


def test_a_file_in_another_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="takes no file"):
        read(tmp_path, part("prompt", "data", '; filename="x"'))
