"""Tests that every field, in every mode, changes the plan or is reported to have no effect."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import ScopeBatchError
from scope_batch.job import parse_job
from scope_batch.render.prepare import outputs_of, plan_document, prepare_job, unused_by_outputs
from tests.plan.silent import BASE, ELSEWHERE, FOLDED, INSIDE, MODES, SCHEMA, Case, cases, make_files

PlanAndDiagnostics = tuple[dict[str, Any] | None, frozenset[str]]
"""The plan of a job, None if it is refused, and its diagnostics."""


PROBES = (
    "scope_batch.render.prepare.probe_sound",
    "scope_batch.render.prepare.probe_material",
    "scope_batch.render.prepare.probe_clip",
    "scope_batch.render.prepare.check_lora_header",
)


@pytest.fixture(scope="module", autouse=True)
def _files(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("files")
    make_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in PROBES:  # the files stay as they are, so each is looked at once
            module, function = name.rsplit(".", 1)
            patch.setattr(name, lru_cache(getattr(import_module(module), function)))
        yield


@lru_cache(1024)
def plan_from_text(job_json: str) -> PlanAndDiagnostics:
    job = parse_job(json.loads(job_json))
    try:
        plan, outputs = prepare_job(job), outputs_of(job)
    except ScopeBatchError:
        return None, frozenset()
    document = plan_document(job, plan, outputs)
    del document["landings"]  # they repeat what an entry asks for
    for placement in document["placements"]:  # so do these, whether they act or not
        del placement["fit"], placement["fill"]
    diagnostics = (*document.pop("notes"), *document.pop("warnings"), *unused_by_outputs(job, outputs))
    return document, frozenset(diagnostics)


def plan_of(job: dict[str, Any]) -> PlanAndDiagnostics:
    try:
        return plan_from_text(json.dumps(job))
    except ScopeBatchError:
        return None, frozenset()


def is_silent(case: Case) -> bool:
    before, old = plan_of(case.without)
    after, new = plan_of(case.with_field)
    assert before is not None, f"{case.mode} is no job"
    if after is None or after != before or in_force(case, before):
        return False
    names = (case.field, FOLDED.get(case.field, case.field), case.inside or case.field)
    about_field = [diagnostic for diagnostic in new if any(name in diagnostic for name in names)]
    return (
        not any(diagnostic not in old or "has no effect" in diagnostic for diagnostic in about_field) and not old - new
    )


def in_force(case: Case, document: dict[str, Any]) -> bool:
    """Return True if the job has the same plan without the value."""
    chunks = document["chunks"] if case.chunk is None else document["chunks"][case.chunk : case.chunk + 1]
    return all(chunk.get(case.field) == case.value for chunk in chunks)


@pytest.mark.parametrize("mode", MODES)
def test_no_field_is_silent(mode: str) -> None:
    assert [str(case) for case in cases(mode) if is_silent(case)] == []


def test_every_part_of_the_schema_is_tried() -> None:
    assert set(SCHEMA["$defs"]) == {*INSIDE, *ELSEWHERE}


def test_a_field_without_effect_would_be_found() -> None:
    assert is_silent(Case("text", "cuts", "warn", BASE, {**BASE, "cuts": "warn"}))
