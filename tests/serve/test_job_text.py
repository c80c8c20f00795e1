from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scope_batch.errors import JobError, ProblemsError
from scope_batch.job import load_job, parse_job
from scope_batch.render.prepare import plan_document, prepare_job
from scope_batch.serve.job_text import check_job_text, read_job_text
from scope_batch.serve.requests import MAX_FRAMES, Files
from scope_batch.serve.roots import Root
from scope_batch.serve.uploads import UploadLimits, Uploads

SLATE = "pipeline_id: slate\nprompt: a cat\nnum_frames: 21\n"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    for folder in ("assets", "lora"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "assets" / "first.png")
    assets, loras = Root(tmp_path / "assets", "--assets-root"), Root(tmp_path / "lora", "--lora-root")
    return Files(Uploads(tmp_path / "uploads", UploadLimits()), assets, loras)


def check(text: str, files: Files, models: str | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(check_job_text(text.encode(), files, models))
    return answer


def problems(text: str, files: Files) -> list[tuple[int | None, str]]:
    answer = check(text, files)
    assert answer["plan"] is None
    return [(problem["line"], problem["message"]) for problem in answer["problems"]]


def test_the_plan_is_that_of_the_command(files: Files) -> None:
    job = load_job(SLATE)
    wanted = plan_document(job, prepare_job(job), ())
    assert check(SLATE, files) == {"problems": [], "more_problems": 0, "warnings": [], "plan": wanted}


@pytest.mark.parametrize(
    "text",
    [
        SLATE + "frobnicate: 1\n",
        SLATE + "height: 321\nwidth: x\n",
        SLATE + "chunk_specs:\n  - {frame: 5000, text: a dog}\n",
        "prompt: [\n",
        "- a\n",
        "",
        "num_frames: 3\n",
        SLATE + "prompt: again\n",
    ],
)
def test_problems_are_those_of_the_command_by_line(text: str, files: Files, tmp_path: Path) -> None:
    file = tmp_path / "job"
    file.write_text(text)
    with pytest.raises(ProblemsError) as caught:
        prepare_job(load_job(file))
    told = [(problem["line"], problem["column"], problem["message"]) for problem in check(text, files)["problems"]]
    lines = [f"{file}:{line}:{column}: {words}" if line else f"{file}: {words}" for line, column, words in told]
    assert lines == [*caught.value.problems]


def test_all_kinds_of_problems_stand_in_the_order_of_the_text(files: Files) -> None:
    text = "pipeline_id: slate\nprompt: ${HOME}\nfirst_frame_image: ../x.png\ncolour: red\n"
    assert [line for line, _ in problems(text, files)] == [2, 3, 4]


def test_no_variable_of_the_server_is_read(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hush")
    ((line, message),) = problems("prompt: ${SECRET}\npipeline_id: slate\n", files)
    assert (line, "hush" in message, "SECRET is not set" in message) == (1, False, True)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.png", "~/x.png", "~root/x.png", "none.png"])
def test_no_file_outside_the_roots_is_named(name: str, files: Files) -> None:
    for text in (f"vace_frames: {name}\n", f"input_path: {name}\n", f"lora_scales:\n  {name}: 1\n"):
        told = check("prompt: a cat\npipeline_id: slate\n" + text, files)["problems"]
        assert told[0]["line"] in (3, 4)
        assert "under --" in told[0]["message"]


def test_names_become_paths_for_the_worker_and_names_again_in_the_plan(files: Files) -> None:
    text = "pipeline_id: longlive\nheight: 64\nwidth: 64\nprompt: a cat\nnum_frames: 9\n"
    text += "chunk_specs:\n  - {chunk: 0, first_frame_image: first.png}\n"
    job, translation, _ = read_job_text(text.encode(), files, "tiny")
    assert job.chunk_specs[0].first_frame_image == files.assets.folder / "first.png"
    assert parse_job(translation.fields).canonical_json() == job.canonical_json()
    plan = check(text, files, "tiny")["plan"]
    assert plan["chunks"][0]["vace"]["stills"][0]["path"] == "first.png"
    assert str(files.assets.folder) not in json.dumps(plan)


def test_a_lora_that_is_listed_twice_is_refused(files: Files) -> None:
    (files.loras.folder / "l.safetensors").write_bytes(b"x")
    text = f"{SLATE}lora_scales:\n  l.safetensors: 1\n  ./l.safetensors: 2\n"
    assert (6, "lora_scales: './l.safetensors': the file is listed twice") in problems(text, files)


def test_what_the_server_decides_is_warned_about_and_has_no_effect(files: Files) -> None:
    text = SLATE + "output: [/etc/x.mp4]\nmodels: /etc\nvideo: {crf: 3}\n"
    answer = check(text, files, "tiny")
    assert [(warning["line"], warning["message"].split(":")[0]) for warning in answer["warnings"]] == [
        (4, "output"), (5, "models"), (6, "video"),
    ]  # fmt: skip
    _, translation, _ = read_job_text(text.encode(), files, "tiny")
    assert translation.fields == {"pipeline_id": "slate", "prompt": "a cat", "num_frames": 21, "models": "tiny"}


def test_warnings_of_the_plan_have_lines(files: Files) -> None:
    (warning,) = check("pipeline_id: slate\nnum_frames: 21\nprompt: a cat #sunset\n", files)["warnings"]
    assert (warning["line"], warning["column"]) == (3, 9)


def test_missing_models_are_a_problem_of_the_job(files: Files, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"^job:1:1: pipeline_id: the model files of longlive .* not on this server$"):
        read_job_text(b"pipeline_id: longlive\nprompt: a cat\n", files, str(tmp_path / "none"))


def test_the_length_is_limited(files: Files) -> None:
    ((line, message),) = problems(f"pipeline_id: slate\nprompt: a cat\nnum_frames: {MAX_FRAMES + 1}\n", files)
    assert (line, str(MAX_FRAMES) in message) == (3, True)


def test_a_plan_that_repeats_long_prompts_is_left_out(files: Files) -> None:
    answer = check(f"pipeline_id: slate\nnum_frames: {MAX_FRAMES}\nprompt: {'x' * 9000}\n", files)
    assert (answer["plan"], answer["problems"]) == (None, [])
    assert "too long to be sent" in answer["warnings"][-1]["message"]


def test_a_text_that_is_not_utf_8_is_a_problem_of_its_line(files: Files) -> None:
    (problem,) = json.loads(check_job_text(b"prompt: a\nx: \xff\n", files, None))["problems"]
    assert problem["line"] == 2
