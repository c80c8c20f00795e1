from __future__ import annotations

import os
from pathlib import Path

import pytest

from scope_batch.errors import OutputError
from scope_batch.files import cache


def test_fingerprint_sees_each_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    content = bytearray(4 << 20)
    seen = set()
    for position in (None, 0, 9 * len(content) // 17, len(content) - 1):
        if position is not None:
            content[position] ^= 1
        path.write_bytes(content)
        os.utime(path, (1, 1))
        seen.add(cache.file_fingerprint(path))
    os.utime(path, (2, 2))
    assert len(seen | {cache.file_fingerprint(path)}) == 5


def test_full_hash_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"abc")
    assert cache.file_sha256(path) == cache.file_sha256(path)
    assert cache.file_sha256(path).startswith("ba7816bf")
    path.write_bytes(b"abcd")
    assert cache.file_sha256(path).startswith("88d4266f")


def test_a_damaged_stored_hash_is_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"abc")
    right = cache.file_sha256(path)
    kept = cache.cache_folder("sha256") / cache.file_fingerprint(path)
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    assert cache.file_sha256(path) == right


@pytest.mark.parametrize("position", [0, 40, 3 << 20, -1])
def test_one_flipped_bit_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    monkeypatch.setattr(cache, "_PIECE_BYTES", 1 << 20)  # several pieces
    path = tmp_path / "x.bin"
    content = bytearray(4 << 20)
    path.write_bytes(content)
    cache.seal(path)
    assert cache.is_sound(path)
    content[position] ^= 1
    path.write_bytes(content)
    assert not cache.is_sound(path)


def test_a_folder_is_sound_while_its_files_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "one").write_text("1")
    cache.seal(folder)
    assert cache.is_sound(folder)
    (folder / "one").rename(folder / "two")
    assert not cache.is_sound(folder)


def test_a_small_file_carries_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert cache.read_sealed(path) is None
    cache.write_sealed(path, b"abc")
    assert cache.read_sealed(path) == b"abc"
    for position in range(35):
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        (tmp_path / "y").write_bytes(content)
        assert cache.read_sealed(tmp_path / "y") is None


def test_a_folder_in_the_way_of_a_file_or_a_lock_is_removed(tmp_path: Path) -> None:
    for name in ("x", "y.lock"):
        (tmp_path / name / "inside").mkdir(parents=True)
    cache.write_sealed(tmp_path / "x", b"abc")
    with cache.lock(tmp_path / "y"):
        assert cache.read_sealed(tmp_path / "x") == b"abc"


def test_an_unwritable_cache_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(OutputError, match=r"below/a: cannot be written .*SCOPE_BATCH_CACHE names another"):
        cache.cache_folder("a")
