"""Facts of the README are those of the program and of the guide. `tests/guide` tries its examples and links."""

from __future__ import annotations

import re
import subprocess

import pytest
import typer
import yaml

from scope_batch.cli.app import app
from scope_batch.guide import PAGES
from scope_batch.models.hub import licence_of, smallest_gb
from scope_batch.models.layout import artifacts
from scope_batch.pipelines import PIPELINES
from tests.documents import README, ROOT

CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PIPELINE_ROWS = {row[0].strip("`"): row for row in README.rows("pipeline")}


def test_the_readme_is_short() -> None:
    assert len(README.text.splitlines()) <= 150


def test_what_was_not_verified_is_on_the_first_screen() -> None:
    assert "has not been run with the published weights" in " ".join(README.text.split("\n## ")[0].split())


def test_the_picture_is_of_the_job_beside_it() -> None:
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", README.text)
    job = (ROOT / picture).with_suffix(".yaml")
    told = re.sub(r"examples/", "../", README.blocks("yaml")[0])
    assert yaml.safe_load(told) == yaml.safe_load(job.read_text(encoding="utf-8"))


def test_the_two_commands_are_those_of_the_gate() -> None:
    render, tests = [text for text in README.blocks("sh") if re.search(r"-q (\.|-e .*) &&", text)]
    assert "scope-batch render examples/quickstart.yaml" in render
    assert "scope-batch render examples/quickstart.yaml" in CI
    install, run = [line.strip().replace(".venv/bin/", "") for line in tests.split("&&")[1:]]
    assert install.removeprefix("pip ") in CI
    assert re.search(rf"^part tests {re.escape(run)}$", CI, re.MULTILINE)


def test_the_small_torch_is_the_one_that_the_package_takes() -> None:
    wanted = next(words for words in README.calls("pip") if "--index-url" in words)
    assert f'"{wanted[2]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert wanted[3:] == ["--index-url", "https://download.pytorch.org/whl/cpu"]


def test_the_verbs_are_those_of_the_program() -> None:
    told = {verb for row in README.rows("verb") for verb in re.findall(r"`([a-z]+)`", row[0])}
    assert told == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_page_of_the_guide_is_linked() -> None:
    assert set(PAGES) == set(re.findall(r"\(scope_batch/guide/([a-z-]+)\.md\)", README.text.split("## Guide")[1]))


def test_every_pipeline_is_to_choose_from() -> None:
    assert set(PIPELINE_ROWS) == {spec.id for spec in PIPELINES.values()}


@pytest.mark.parametrize("pipeline", [spec.id for spec in PIPELINES.values() if spec.needs_models])
def test_the_size_and_licence_of_a_pipeline_are_those_of_its_files(pipeline: str) -> None:
    row = PIPELINE_ROWS[pipeline]
    assert row[5] == f"{smallest_gb(artifacts(pipeline)):.1f} GB"
    backbone = next(file for file in artifacts(pipeline) if file.role == "backbone")
    licence = licence_of(backbone.repo)
    wanted = {True: licence.name, False: "see below", None: "not known here"}[licence.commercial]
    assert row[2] == wanted


def test_the_gate_is_a_script_that_a_shell_can_read() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
