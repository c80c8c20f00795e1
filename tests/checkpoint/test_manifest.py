"""Only whole lines of a manifest count."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from scope_batch.checkpoint.manifest import Manifest, from_line, read_manifest, to_line
from scope_batch.core import failpoint

ROWS = [{"kind": "render", "version": 1}, {"kind": "chunk", "chunk": 0, "text": "é \n "}, {"kind": "state", "chunk": 1}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "chunks.jsonl"
    manifest = Manifest(path, ROWS[:1])
    for row in ROWS[1:]:
        manifest.append(row)
    manifest.close()
    return path


def test_rows_come_back(path: Path) -> None:
    assert read_manifest(path)[0] == ROWS
    assert read_manifest(path.with_name("other"))[0] == []


def test_a_manifest_cut_anywhere_loses_its_last_row_only(path: Path) -> None:
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        assert read_manifest(path)[0] == ROWS[:2]


def test_every_flipped_bit_is_noticed() -> None:
    line = to_line(ROWS[1])
    for position in range(len(line)):
        for bit in range(8):
            damaged = bytearray(line)
            damaged[position] ^= 1 << bit
            assert from_line(bytes(damaged)) is None


def test_nothing_after_a_damaged_line_counts(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{}\n" + lines[2])
    assert read_manifest(path)[0] == ROWS[:1]


def test_a_new_manifest_takes_the_place_of_the_old_one(path: Path) -> None:
    manifest = Manifest(path, ROWS[:1])
    manifest.append(ROWS[2])
    manifest.close()
    manifest.close()
    assert read_manifest(path)[0] == [ROWS[0], ROWS[2]]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("point", ["manifest-state", "manifest-state-half", "manifest-state-unsynced"])
def test_a_row_that_fails_leaves_nothing_in_front_of_the_next_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    manifest = Manifest(path, ROWS[:1])
    monkeypatch.setattr(failpoint, "armed", failpoint.Armed(point, "enospc", 1))
    monkeypatch.setattr(failpoint, "reached", Counter())
    with pytest.raises(OSError, match="No space left"):
        manifest.append(ROWS[2])
    manifest.append(ROWS[1])
    manifest.close()
    assert read_manifest(path)[0] == ROWS[:2]
