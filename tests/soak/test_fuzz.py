"""A small part of the fuzz, and that its valid jobs and files are valid."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.fuzz import run, run_jobs, run_media, work_folder
from tests.soak.fuzz_jobs import bases
from tests.soak.fuzz_media import jobs_for

SEED = 10_000


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = Path.cwd()
    yield work_folder(tmp_path_factory.mktemp("fuzz"))
    os.chdir(before)


def test_what_is_mutated_is_valid(assets: Path) -> None:
    job = Path("valid.yaml")
    for index, base in enumerate(bases(assets)):
        job.write_text(json.dumps(base))
        assert run(f"base {index}", ["plan", str(job)]).line.split(",")[0] == f"base {index}: exit 0"
    for name in ("clip.webm", "clip.gif", "planes.npy", "image.jpg", "sound.wav", "control.safetensors"):
        job.write_text(json.dumps(jobs_for(assets / name, 0)))
        assert run(name, ["render", str(job), "-o", "valid.npy", "-y", "-q"]).line.split(",")[0] == f"{name}: exit 0"


def test_no_mutated_job_is_a_bug_or_large(assets: Path) -> None:
    assert [ran.line for ran in run_jobs(SEED, 60, assets) if ran.faults] == []


def test_no_mutated_file_is_a_bug_or_large(assets: Path) -> None:
    assert [ran.line for ran in run_media(SEED, 20, assets) if ran.faults] == []
