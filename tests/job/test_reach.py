from __future__ import annotations

from pathlib import Path

import pytest

from scope_batch.job import Job, load_text
from scope_batch.job.reach import SHOWN, reach_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def job(text: str, folder: Path | None = None) -> Job:
    return load_text(text, name="j", folder=folder, environ={"TOKEN": "secret", "DIR": "out"})


def test_a_job_inside_its_folders_has_no_lines(here: Path) -> None:
    assert reach_of(job("{prompt: a $$, first_frame_image: a.png}"), [Path("out/a.mp4"), here / "b.mp4"]) == ()


def test_variables_are_named_with_the_field_but_without_their_value() -> None:
    loaded = job(
        "{prompt: 'a ${TOKEN} ${TOKEN}', chunk_specs: [{chunk: 1, text: '${NAME:-dog} $${X}'}], output: '${DIR}/a.mp4'}"
    )
    assert reach_of(loaded) == (
        "reads environment variables: TOKEN (prompt), NAME (chunk_specs[0].text), DIR (output)",
    )


@pytest.mark.parametrize("path", ["/etc/x.mp4", "../x.mp4", "out/../../x.mp4"])
def test_an_output_outside_the_working_directory_is_named(path: str) -> None:
    assert reach_of(job("{prompt: a}"), [Path(path)]) == (f"writes outside the working directory: {path}",)


def test_a_link_counts_as_its_target(here: Path) -> None:
    (here / "out").symlink_to("/")
    assert reach_of(job("{prompt: a}"), [Path("out/a.mp4")]) == ("writes outside the working directory: out/a.mp4",)


def test_inputs_may_also_be_in_the_jobs_own_folder(tmp_path: Path) -> None:
    loaded = job("{prompt: a, input_path: a.mp4, audio: /etc/b.wav, models: ../m}", tmp_path / "jobs")
    assert reach_of(loaded) == (
        f"reads outside the working directory: /etc/b.wav (audio), {tmp_path}/jobs/../m (models)",
    )


def test_paths_of_the_command_line_are_not_listed() -> None:
    text = "{prompt: a, input_path: /etc/a.mp4, models: /etc}"
    loaded = load_text(text, name="j", overrides=["input_path=/etc/b.mp4"], models="/m", environ={})
    assert reach_of(loaded) == ()


def test_long_lists_are_counted() -> None:
    paths = [Path(f"/{name}.npy") for name in range(SHOWN + 3)]
    (line,) = reach_of(job("{prompt: a}"), paths)
    assert line.endswith(f"/{SHOWN - 1}.npy and 3 more")
