"""A ledger keeps every line whole, whoever writes at the same time, and tells jobs and attempts apart."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from scope_batch.errors import MissingInputError, OutputError
from scope_batch.farm.ledger import Attempt, Ledger

DONE = Attempt("a.yaml", "f" * 64, "cuda:0", "box", "2026-01-01T00:00:00.000+00:00", 2.5, "done", 0)


def test_an_attempt_is_read_as_it_was_written(tmp_path: Path) -> None:
    lost = replace(DONE, outcome="lost", exit_code=75, resumed_chunk=3, outputs=("/out/ä.mp4",), message="killed")
    Ledger(tmp_path / "new" / "folder").append(lost)
    ((job,), damaged) = Ledger(tmp_path / "new" / "folder").read()
    assert job.attempts == (lost,) and damaged == 0


def test_attempts_at_one_job_belong_together_and_a_changed_job_is_another(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for attempt in (replace(DONE, outcome="lost"), replace(DONE, job="b.yaml"), DONE, replace(DONE, fingerprint="0")):
        ledger.append(attempt)
    jobs, _ = ledger.read()
    assert [(job.last.job, job.last.fingerprint[0], len(job.attempts), job.seconds) for job in jobs] == [
        ("a.yaml", "f", 2, 5.0), ("b.yaml", "f", 1, 2.5), ("a.yaml", "0", 1, 2.5),
    ]  # fmt: skip
    assert jobs[0].last == DONE


def test_lines_of_several_writers_stay_whole(tmp_path: Path) -> None:
    def write(number: int) -> None:
        Ledger(tmp_path).append(replace(DONE, job=f"{number}.yaml", message="m" * 20_000))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(64)))
    jobs, damaged = Ledger(tmp_path).read()
    assert sorted(int(job.last.job[:-5]) for job in jobs) == [*range(64)] and damaged == 0


def test_a_line_cut_by_a_kill_is_counted_and_spoils_no_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(DONE)
    with ledger.path.open("a") as file:
        file.write('{"job": "cut')
    ledger.append(replace(DONE, job="b.yaml"))
    jobs, damaged = ledger.read()
    assert [job.last.job for job in jobs] == ["a.yaml", "b.yaml"] and damaged == 1


def test_a_name_that_is_no_text_leaves_a_line_that_can_be_read(tmp_path: Path) -> None:
    Ledger(tmp_path).append(replace(DONE, job="odd\udcff.yaml"))
    ((job,), damaged) = Ledger(tmp_path).read()
    assert job.last.job == "odd?.yaml" and damaged == 0


def test_later_versions_may_add_to_a_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(DONE)
    ledger.path.write_text(json.dumps(json.loads(ledger.path.read_text()) | {"more": 1}) + "\n")
    ((job,), damaged) = ledger.read()
    assert job.last == DONE and damaged == 0


def test_a_folder_without_ledger_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"jobs\.jsonl"):
        Ledger(tmp_path).read()


def test_a_ledger_that_cannot_be_written_is_told_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="--ledger"):
        Ledger(tmp_path / "file").check()
