"""Every example of the README and of the guide works: jobs plan, commands parse, programs run, links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from _pytest.mark import ParameterSet

from scope_batch.cli.app import app
from scope_batch.job.load import load_sweep
from scope_batch.render.prepare import prepare_job
from scope_batch.sinks.npy import npy_header
from tests.documents import PAGES, README, ROOT, Document, page

DOCUMENTS = [README, *PAGES]
RIGHT = [document for document in DOCUMENTS if document.name != "troubleshooting.md"]
"""Those whose jobs are meant to be right."""


def verbs() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(app)
    return group.commands  # type: ignore[attr-defined, no-any-return]


def parse(arguments: list[str]) -> None:
    command = verbs()[arguments[0]]
    if hasattr(command, "commands") and len(arguments) > 1:
        parse_in = command.commands[arguments[1]]
        parse_in.make_context(arguments[1], arguments[2:])
    else:
        command.make_context(arguments[0], arguments[1:])


def calls(program: str) -> list[ParameterSet]:
    return [
        pytest.param(words, id=f"{document.name}: {' '.join(words)}")
        for document in DOCUMENTS
        for words in document.calls(program)
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_block_is_of_a_language_that_is_checked_here(document: Document) -> None:
    assert {name for name, _ in document.all_blocks()} <= {"sh", "yaml", "python"}
    assert document.text.count("```") == 2 * len(document.all_blocks())


@pytest.mark.parametrize("arguments", calls("scope-batch"))
def test_a_command_is_one_that_the_program_takes(arguments: list[str]) -> None:
    parse(arguments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_commands_in_the_text_are_ones_that_the_program_takes(document: Document) -> None:
    for command in re.findall(r"`scope-batch ((?:--)?[a-z][^`]*)`", document.text):
        words = shlex.split(command)
        if len(words) == 1:
            assert words[0] in verbs() or words[0].startswith("--")
        elif not re.search(r"\b[A-Z]{3,}\b", command):  # no placeholder
            parse(words)


def test_the_check_of_commands_refuses_an_option_that_is_not_there() -> None:
    with pytest.raises(typer.TyperException, match="--resumed"):
        parse(["render", "job.yaml", "--resumed"])


@pytest.mark.parametrize(
    "text", [text for document in RIGHT for text in document.blocks("yaml")], ids=lambda text: text[:40]
)
def test_a_job_plans_without_a_warning(text: str) -> None:
    for each in load_sweep(text, name="page.md", folder=ROOT):
        assert not prepare_job(each.job).warnings


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_options_in_the_text_are_options_of_a_verb(document: Document) -> None:
    commands = [*verbs().values()]
    commands += [inner for command in commands for inner in getattr(command, "commands", {}).values()]
    known = {name for command in commands for param in command.params for name in (*param.opts, *param.secondary_opts)}
    known |= {"--version", "--help", "--install-completion"}
    told = set(re.findall(r"`(--[a-z][a-z-]+)", document.text))
    assert told <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_link_leads_somewhere(document: Document) -> None:
    for target in document.links():
        assert (document.path.parent / target).resolve().exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_programs_are_valid(document: Document) -> None:
    for text in document.blocks("python"):
        ast.parse(text)


def run_python(program: str, folder: Path, stdin: bytes = b"") -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=True).stdout.decode()


def test_the_reader_of_a_pipe_runs(tmp_path: Path) -> None:
    (program,) = page("outputs").blocks("python")
    stream = npy_header(2, 16, 32) + np.zeros((2, 16, 32, 3), np.uint8).tobytes()
    assert run_python(program, tmp_path, stream).count("(16, 32, 3) 0.0") == 2


def test_the_api_example_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = next(text for text in page("python").blocks("python") if "render_job" in text)
    assert run_python(program, tmp_path).splitlines()[-1].startswith("done 61 ")
    assert len(np.load(tmp_path / "out" / "slate.npy", mmap_mode="r")) == 61


def test_the_loop_over_chunks_runs_and_leaves_nothing(tmp_path: Path) -> None:
    program = next(text for text in page("python").blocks("python") if "render_chunks" in text)
    assert len(program.splitlines()) <= 8
    lines = run_python(program, tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
