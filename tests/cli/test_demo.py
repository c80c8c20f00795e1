"""`demo` writes its job into a folder, renders it, and tells what to try next."""

from __future__ import annotations

import shlex

import pytest
import typer

from scope_batch.cli import demo
from scope_batch.cli.app import app
from scope_batch.guide import DEMO_DEPTH, DEMO_JOB
from scope_batch.job import load_job
from scope_batch.models.tiny.vocabulary import unknown_words
from scope_batch.render.prepare import prepare_job
from tests.documents import ROOT


def test_the_demo_renders_its_job_and_shows_it(run, fake, tmp_path):
    ran = run("demo")
    assert ran.code == 0 and [name for name, _ in fake.CALLS] == ["job"]
    assert str(tmp_path / "scope-batch-demo" / "film.mp4") in ran.out and DEMO_JOB.read_text() in ran.out
    assert all(command in ran.out for command in demo.TRY_NEXT)


def test_the_job_has_three_prompts_the_last_of_them_steered(run, tmp_path):
    run("demo")
    job = load_job(tmp_path / "scope-batch-demo" / "job.yaml")
    plan = prepare_job(job)
    assert plan.warnings == () and plan.num_frames == 81 and str(job.output[0].path) == str(demo.FILM)
    steered = {str(chunk.conditioning): bool(chunk.vace) for chunk in plan.chunks}
    assert [*steered.values()] == [False, False, True]


def test_the_words_are_ones_that_the_built_in_models_know():
    job = load_job(DEMO_JOB)
    assert unknown_words([job.prompt[0].text, *(entry.text for entry in job.chunk_specs)]) == []


def test_the_depth_video_is_that_of_the_examples():
    assert DEMO_DEPTH.read_bytes() == (ROOT / "examples" / "assets" / "depth.mp4").read_bytes()


def test_an_edited_job_is_not_rendered_as_the_demo(run, fake, tmp_path):
    run("demo")
    (tmp_path / "scope-batch-demo" / "job.yaml").write_text("prompt: mine\n")
    ran = run("demo")
    assert ran.code == 73 and len(fake.CALLS) == 1 and "scope-batch render scope-batch-demo/job.yaml -y" in ran.err


@pytest.mark.parametrize("command", demo.TRY_NEXT)
def test_what_to_try_next_is_a_command_of_the_program(command):
    _, verb, *arguments = shlex.split(command)
    typer.main.get_command(app).commands[verb].make_context(verb, arguments)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_film_is_opened_on_a_desktop_only_from_a_terminal(run, monkeypatch, terminal):
    opened = []
    monkeypatch.setattr(demo, "_has_desktop", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("typer.launch", opened.append)
    run("demo")
    assert opened == ([str(demo.FILM)] if terminal else [])
