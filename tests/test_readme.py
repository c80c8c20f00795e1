"""What the README says is what the program does: every block runs, plans or parses, every table and link is true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from scope_batch import errors
from scope_batch.cli.app import app
from scope_batch.job.load import load_sweep
from scope_batch.models.layout import VAES, artifacts
from scope_batch.pipelines import PIPELINES
from scope_batch.render.prepare import prepare_job
from scope_batch.sinks.npy import npy_header

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def simple_commands() -> Iterator[list[str]]:
    """The words of every command in the shell blocks, pipelines and lists taken apart."""
    for line in "".join(blocks("sh")).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                yield command
                command = []
            else:
                command.append(word)


def programs(name: str) -> list[list[str]]:
    """The arguments of every call of `name`, from whichever folder."""
    return [words[1:] for words in simple_commands() if words and words[0].split("/")[-1] == name]


def rows(header: str) -> list[list[str]]:
    """Cells of the table whose first column is called `header`."""
    table = README[README.index(f"| {header} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def verbs() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(app)
    return group.commands  # type: ignore[attr-defined, no-any-return]


def test_every_block_is_of_a_language_that_is_checked_here() -> None:
    assert {name for name, _ in BLOCKS} == {"sh", "yaml", "python"}
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("arguments", programs("scope-batch"), ids=" ".join)
def test_a_command_is_one_that_the_program_takes(arguments: list[str]) -> None:
    verbs()[arguments[0]].make_context(arguments[0], arguments[1:])


def test_the_check_of_commands_refuses_an_option_that_is_not_there() -> None:
    with pytest.raises(typer.TyperException, match="--resumed"):
        verbs()["render"].make_context("render", ["job.yaml", "--resumed"])


def test_the_first_two_commands_are_those_of_the_gate() -> None:
    render, tests = blocks("sh")[:2]
    assert "scope-batch render examples/quickstart.yaml" in render
    assert "scope-batch render examples/quickstart.yaml" in CI
    install, run = [line.strip().replace(".venv/bin/", "") for line in tests.split("&&")[1:]]
    assert install.removeprefix("pip ") in CI
    assert re.search(rf"^part tests {re.escape(run)}$", CI, re.MULTILINE)


def test_the_small_torch_is_the_one_that_the_package_takes() -> None:
    wanted = next(words for words in programs("pip") if "--index-url" in words)
    assert f'"{wanted[2]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert wanted[3:] == ["--index-url", "https://download.pytorch.org/whl/cpu"]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_job_plans_without_a_warning(text: str) -> None:
    for each in load_sweep(text, name="README.md", folder=ROOT):
        assert not prepare_job(each.job).warnings


def run_python(program: str, folder: Path, stdin: bytes = b"") -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=True).stdout.decode()


def test_the_reader_of_a_pipe_runs(tmp_path: Path) -> None:
    program = next(text for text in blocks("python") if "read_npy_stream" in text)
    stream = npy_header(2, 16, 32) + np.zeros((2, 16, 32, 3), np.uint8).tobytes()
    assert run_python(program, tmp_path, stream).count("(16, 32, 3) 0.0") == 2


def test_the_api_example_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = next(text for text in blocks("python") if "render_job" in text)
    assert run_python(program, tmp_path).splitlines()[-1].startswith("done 61 ")
    assert len(np.load(tmp_path / "out" / "slate.npy", mmap_mode="r")) == 61


def test_the_loop_over_chunks_runs_and_leaves_nothing(tmp_path: Path) -> None:
    program = next(text for text in blocks("python") if "render_chunks" in text)
    assert len(program.splitlines()) <= 8
    lines = run_python(program, tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_the_options_of_the_work_folder_are_those_of_the_program() -> None:
    told = {name for row in rows("option") for name in re.findall(r"--[a-z-]+", row[0])}
    params = [param for param in verbs()["render"].params if getattr(param, "rich_help_panel", "") == "Resume"]
    assert told == {name for param in params for name in (*param.opts, *param.secondary_opts)}


def test_the_verbs_are_those_of_the_program() -> None:
    assert {row[0].strip("`") for row in rows("verb")} == set(verbs())


def test_the_exit_codes_are_those_of_the_errors() -> None:
    told = {int(code) for row in rows("code") for code in row[0].split(",")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    signals = {128 + number for number in (1, 2, 15)}
    assert told == {errors.EXIT_OK, errors.EXIT_CHECK_FAILED} | signals | {kind.exit_code for kind in kinds}


@pytest.mark.parametrize("vae", VAES)
@pytest.mark.parametrize("pipeline", [spec.id for spec in PIPELINES.values() if spec.needs_models])
def test_the_model_files_are_those_that_the_loader_reads(pipeline: str, vae: str) -> None:
    for artifact in artifacts(pipeline, vae, vace=True):  # type: ignore[arg-type]
        told = " ".join(row[0] for row in rows("below the folder") if row[1] == f"`{artifact.repo}`")
        assert artifact.local.parts[0] in told and artifact.path.split("/")[-1] in told


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_a_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_gate_is_a_script_that_a_shell_can_read() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_pipeline_is_named(pipeline: str) -> None:
    assert f"`{pipeline}`" in README
