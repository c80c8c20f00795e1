"""The bytes of all uploads, counted without reading the folder each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.upload_room import UploadRoom


def arrive(room: UploadRoom, folder: Path, name: str, size: int) -> None:
    """An upload of this size, from its first byte to its last."""
    part = folder / f"{name}.part"
    try:
        room.claim(part, size)
        (folder / name).write_bytes(bytes(size))
        room.keep(part, folder / name)
    finally:
        room.release(part)


def test_the_folder_is_not_read_for_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_bytes(b"abc")
    room = UploadRoom(tmp_path, 10)
    monkeypatch.delattr(os, "walk")
    arrive(room, tmp_path, "a", 6)
    with pytest.raises(HttpProblem, match="and 9 are kept"):
        arrive(room, tmp_path, "b", 2)
    room.remove(tmp_path / "a")
    arrive(room, tmp_path, "c", 7)


def test_what_arrives_or_goes_during_a_count_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = UploadRoom(tmp_path, 10)
    arrive(room, tmp_path, "a", 5)
    walk = os.walk

    def slow(folder: Path) -> Iterator[Any]:
        yield from walk(folder)
        arrive(room, tmp_path, "b", 4)
        room.remove(tmp_path / "a")

    monkeypatch.setattr(os, "walk", slow)
    room.count()
    with pytest.raises(HttpProblem, match="and 4 are kept"):
        arrive(room, tmp_path, "c", 7)


def test_an_asset_counts_until_somebody_removes_it(tmp_path: Path) -> None:
    """The files that stand beside it do not count."""
    for folder in ("assets", "uploads"):
        (tmp_path / folder).mkdir()
    asset = tmp_path / "assets" / "a.png"
    asset.write_bytes(b"abcdef")
    (tmp_path / "assets" / "own.png").write_bytes(bytes(100))
    UploadRoom(tmp_path / "uploads", 10).keep_asset(asset)
    room = UploadRoom(tmp_path / "uploads", 10)
    with pytest.raises(HttpProblem, match="and 6 are kept"):
        arrive(room, tmp_path / "uploads", "b", 5)
    asset.unlink()
    room.count()
    arrive(room, tmp_path / "uploads", "b", 5)
    (tmp_path / "assets" / "a.png").write_bytes(b"a")
    room.keep_asset(asset)
