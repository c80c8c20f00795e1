"""Tests of facts about files, which are remembered until a file changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from scope_batch.errors import JobError
from scope_batch.files.cache import cache_path
from scope_batch.files.remembered import files_state, recall, remember, remembered

COUNT = TypeAdapter(int)


class Look:
    """Counts the bytes of a file, and how often it was asked."""

    def __init__(self, file: Path) -> None:
        self.file, self.calls = file, 0

    def __call__(self) -> int:
        self.calls += 1
        return len(self.file.read_bytes())

    def again(self) -> tuple[int, int]:
        """The fact, and how often the file has been looked at."""
        return remembered("test", self.file, COUNT, self), self.calls


@pytest.fixture
def look(tmp_path: Path) -> Look:
    (tmp_path / "a").write_bytes(b"12345")
    return Look(tmp_path / "a")


def test_a_file_that_does_not_change_is_looked_at_once(look: Look) -> None:
    assert [look.again(), look.again()] == [(5, 1), (5, 1)]


def test_another_size_means_another_look(look: Look) -> None:
    look.again()
    look.file.write_bytes(b"123456")
    assert look.again() == (6, 2)


def test_another_file_of_the_same_size_and_time_means_another_look(look: Look) -> None:
    look.again()
    status = look.file.stat()
    other = look.file.with_name("b")
    other.write_bytes(b"54321")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(look.file)
    assert look.again() == (5, 2)


def test_a_time_that_was_set_back_means_another_look(look: Look) -> None:
    look.again()
    status = look.file.stat()
    look.file.write_bytes(b"54321")
    os.utime(look.file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert look.file.stat().st_mtime_ns == status.st_mtime_ns
    assert look.again() == (5, 2)


def test_a_file_that_changes_while_it_is_read_is_looked_at_again(look: Look) -> None:
    state = files_state([look.file])
    look.file.write_bytes(b"123")
    remember("test", look.file, state, b"5")
    assert recall("test", look.file, files_state([look.file])) is None


def test_an_error_and_a_damaged_fact_are_not_remembered(look: Look) -> None:
    def fail() -> int:
        raise JobError("damaged")

    with pytest.raises(JobError):
        remembered("test", look.file, COUNT, fail)
    look.again()
    for stored in cache_path("test").iterdir():
        stored.write_bytes(stored.read_bytes()[:-1] + b"9")
    assert look.again() == (5, 2)


def test_a_cache_that_cannot_be_written_costs_time_only(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(look.file / "below a file"))
    assert [look.again(), look.again()] == [(5, 1), (5, 2)]


def test_a_missing_file_has_no_state(look: Look) -> None:
    assert files_state([look.file, look.file.with_name("b")]) is None
