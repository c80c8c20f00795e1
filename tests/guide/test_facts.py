"""Facts in the guide are those of the program: options, exit codes, model files, pipelines, chunk lengths."""

from __future__ import annotations

import re

import pytest
import typer

from scope_batch import errors
from scope_batch.cli.app import app
from scope_batch.models.layout import VAES, artifacts
from scope_batch.models.tiny.vocabulary import PHRASES
from scope_batch.pipelines import PIPELINES
from tests.documents import page


def test_the_options_of_the_work_folder_are_those_of_the_program() -> None:
    told = {name for row in page("resume").rows("option") for name in re.findall(r"--[a-z-]+", row[0])}
    render = typer.main.get_command(app).commands["render"]  # type: ignore[attr-defined]
    params = [param for param in render.params if getattr(param, "rich_help_panel", "") == "Resume"]
    assert told == {name for param in params for name in (*param.opts, *param.secondary_opts)}


def test_the_exit_codes_are_those_of_the_errors() -> None:
    told = {int(code) for row in page("progress").rows("code") for code in row[0].split(",")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    signals = {128 + number for number in (1, 2, 15)}
    assert told == {errors.EXIT_OK, errors.EXIT_CHECK_FAILED} | signals | {kind.exit_code for kind in kinds}


@pytest.mark.parametrize("vae", VAES)
@pytest.mark.parametrize("pipeline", [spec.id for spec in PIPELINES.values() if spec.needs_models])
def test_the_model_files_are_those_that_the_loader_reads(pipeline: str, vae: str) -> None:
    rows = page("models").rows("below the folder")
    for artifact in artifacts(pipeline, vae, vace=True):  # type: ignore[arg-type]
        told = " ".join(row[0] for row in rows if row[1] == f"`{artifact.repo}`")
        assert artifact.local.parts[0] in told and artifact.path.split("/")[-1] in told


def test_the_pipelines_have_the_sizes_that_the_guide_tells() -> None:
    told = {row[0].strip("`"): (row[2], row[3]) for row in page("models").rows("pipeline")}
    assert told == {spec.id: (str(4 * spec.block), f"{spec.width}x{spec.height}") for spec in PIPELINES.values()}


def test_the_words_of_the_tiny_models_are_those_that_they_learnt() -> None:
    told = {row[0]: row[1].split(", ") for row in page("models").rows("what")}
    assert told == {
        key: [name for names in values.values() for name in names if name] for key, values in PHRASES.items()
    }
