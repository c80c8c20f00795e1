from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from scope_batch.core import registry
from scope_batch.models.layout import VACE_CHECKPOINT, VAES, artifacts
from scope_batch.models.listing import is_ready, list_files, list_pipelines
from scope_batch.pipelines import PIPELINES
from scope_batch.pipelines.builtin import LONGLIVE

from .helpers import BACKBONE


def test_every_file_is_listed_once_with_the_option_that_needs_it(tmp_path: Path) -> None:
    files = list_files("longlive", tmp_path, vace=True)
    named = {file.artifact: file.needed_for for file in files}
    assert len(named) == len(files)
    for vae_type in VAES:
        assert set(artifacts("longlive", vae_type, vace=True)) <= set(named)
        assert named[VAES[vae_type]] == f"vae_type: {vae_type}"
    assert {named[artifact] for artifact in artifacts("longlive") if artifact.role != "vae"} == {""}
    assert named[artifacts("longlive", vace=True)[-1]] == "VACE"


def test_a_pipeline_is_ready_without_files_that_only_some_jobs_need(tmp_path: Path) -> None:
    for artifact in artifacts("longlive"):
        path = tmp_path / artifact.local / artifact.probe
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    files = list_files("longlive", tmp_path, vace=True)
    assert is_ready(files) and any(file.size_bytes is None for file in files)
    assert {file.size_bytes for file in files} == {4, None}
    (tmp_path / BACKBONE).unlink()
    assert not is_ready(list_files("longlive", tmp_path, vace=True))


OTHER = replace(LONGLIVE, id="other", summary="of a plugin")


def test_every_pipeline_is_listed_those_of_plugins_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {
        name: (EntryPoint(name, f"{__name__}:{attribute}", "scope_batch.pipelines"),)
        for name, attribute in (("other", "OTHER"), ("broken", "NOT_THERE"))
    }
    monkeypatch.setattr(registry, "entry_points_of", lambda group: entries if group.endswith("pipelines") else {})
    listed = {pipeline.id: pipeline for pipeline in list_pipelines(tmp_path)}
    assert list(listed) == [*PIPELINES, "broken", "other"]
    assert all(bool(listed[name].files) == spec.needs_models for name, spec in PIPELINES.items())
    assert listed["other"].ready and listed["other"].files == () and listed["other"].needs_models
    assert not listed["broken"].ready and "'broken' of" in listed["broken"].problem
    assert not listed["longlive"].ready and listed["slate"].ready


def test_a_whole_checkpoint_replaces_its_module(tmp_path: Path) -> None:
    path = tmp_path / VACE_CHECKPOINT.local
    path.parent.mkdir(parents=True)
    path.touch()
    (listed,) = [file for file in list_files("longlive", tmp_path, vace=True) if file.needed_for == "VACE"]
    assert listed.artifact == VACE_CHECKPOINT and listed.size_bytes == 0
