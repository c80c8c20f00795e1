"""What a work folder holds is found again, and nothing that is damaged or of another render."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scope_batch.checkpoint.provenance import Difference, Provenance
from scope_batch.checkpoint.store import MANIFEST, ChunkStore, Found, look_into
from scope_batch.core.engine import ByteWriter
from scope_batch.core.frames import Frames

MADE_FROM = Provenance(
    {"pipeline": '"x"'}, {"torch": "2.12"}, tuple({"seed": "1", "text": f'"{index}"'} for index in range(6))
)


def frames(index: int) -> Frames:
    return np.full((3, 2, 4, 3), index, np.uint8)


def latents(index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((1, 16, 1, 1), index / 7, np.float32)


def fill(folder: Path, chunks: int = 4, states: tuple[int, ...] = (2,)) -> ChunkStore:
    store = ChunkStore(folder, MADE_FROM, Found())
    for index in range(chunks):
        assert store.put_chunk(index, frames(index), latents(index))
        if index + 1 in states:
            store.put_state(index + 1, lambda file: file.write(b"state" * 100), keep=())
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "work").close()
    return tmp_path / "work"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_chunks_and_states_are_found_again(folder: Path) -> None:
    found = look_into(folder, MADE_FROM, latents=True)
    assert [chunk.index for chunk in found.chunks] == [0, 1, 2, 3]
    assert tuple(found.states) == (2,)
    np.testing.assert_array_equal(found.chunks[3].frames(), frames(3))
    np.testing.assert_array_equal(found.chunks[3].latents(), latents(3))
    assert (found.changed, found.damaged) == ((), ())


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert look_into(tmp_path, MADE_FROM, latents=False) == Found()


@pytest.mark.parametrize("name", ["00002.frames", "00002.latents"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_chunk_ends_what_is_good(folder: Path, name: str, damage: str) -> None:
    data = (folder / name).read_bytes()
    if damage == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data[:-1] if damage == "cut" else bytes([data[0] ^ 4]) + data[1:])
    found = look_into(folder, MADE_FROM, latents=True)
    assert len(found.chunks) == 2
    assert found.damaged == ("stored chunk 2 is damaged: it is generated again, with all after it",)


def test_a_damaged_state_is_noticed_when_it_is_looked_at(folder: Path) -> None:
    assert look_into(folder, MADE_FROM, latents=True).states[2].is_sound()
    (folder / "00002.state").write_bytes(b"statf" + b"state" * 99)
    assert not look_into(folder, MADE_FROM, latents=True).states[2].is_sound()


def test_a_state_that_fails_leaves_the_one_before_it(folder: Path) -> None:
    store = ChunkStore(folder, MADE_FROM, look_into(folder, MADE_FROM, latents=True))

    def fail(file: ByteWriter) -> None:
        file.write(b"half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        store.put_state(2, fail, keep=())
    store.close()
    assert look_into(folder, MADE_FROM, latents=True).states[2].is_sound()


def test_the_first_chunk_that_differs_is_named(folder: Path) -> None:
    chunks = list(MADE_FROM.chunks)
    chunks[3] = {"seed": "1", "text": '"a fox"'}
    found = look_into(folder, replace(MADE_FROM, chunks=tuple(chunks)), latents=True)
    assert (len(found.chunks), tuple(found.states)) == (3, (2,))
    assert [str(change) for change in found.changed] == ["chunk 3: text: 3 -> a fox"]


def test_another_engine_leaves_nothing(folder: Path) -> None:
    found = look_into(folder, replace(MADE_FROM, engine={"pipeline": '"y"'}), latents=True)
    assert (found.chunks, [str(change) for change in found.changed]) == ((), ["pipeline: x -> y"])


def test_chunks_without_latents_do_not_serve_a_render_that_saves_them(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, MADE_FROM, Found())
    store.put_chunk(0, frames(0), None)
    store.close()
    assert len(look_into(tmp_path, MADE_FROM, latents=False).chunks) == 1
    assert look_into(tmp_path, MADE_FROM, latents=True).changed == (
        Difference(None, "--latents", "not kept", "asked for"),
    )


def test_a_state_ahead_of_the_chunks_does_not_count(tmp_path: Path) -> None:
    store = fill(tmp_path, chunks=2, states=())
    store.put_state(4, lambda file: file.write(b"s"), keep=())
    store.close()
    assert tuple(look_into(tmp_path, MADE_FROM, latents=True).states) == ()


def test_older_states_go_but_those_to_keep(tmp_path: Path) -> None:
    store = fill(tmp_path, chunks=5, states=())
    for index in (1, 2, 4):
        store.put_state(index, lambda file: file.write(b"s"), keep=(1,))
    store.close()
    found = look_into(tmp_path, MADE_FROM, latents=True)
    assert (tuple(found.states), found.damaged) == ((1, 4), ()), "the state before chunk 2 was removed, not damaged"
    assert {"00001.state", "00004.state"} == {name for name in names(tmp_path) if name.endswith("state")}


def test_an_older_state_goes_when_the_chunk_before_the_new_one_is_committed(tmp_path: Path) -> None:
    store = fill(tmp_path, chunks=2, states=(2,))
    store.put_state(3, lambda file: file.write(b"s"), keep=())
    assert {"00002.state", "00003.state"} == {name for name in names(tmp_path) if name.endswith("state")}
    store.put_chunk(2, frames(2), latents(2))
    assert {"00003.state"} == {name for name in names(tmp_path) if name.endswith("state")}
    store.close()


def test_the_same_bytes_are_not_written_again(folder: Path) -> None:
    store = ChunkStore(folder, MADE_FROM, look_into(folder, MADE_FROM, latents=True))
    inode = (folder / "00001.frames").stat().st_ino
    assert not store.put_chunk(1, frames(1), latents(1))
    assert (folder / "00001.frames").stat().st_ino == inode


def test_other_bytes_take_the_place_of_all_that_follows(folder: Path) -> None:
    store = ChunkStore(folder, MADE_FROM, look_into(folder, MADE_FROM, latents=True))
    assert store.put_chunk(1, frames(9), latents(9))
    store.close()
    found = look_into(folder, MADE_FROM, latents=True)
    assert ([chunk.frames()[0, 0, 0, 0] for chunk in found.chunks], tuple(found.states)) == ([0, 9], ())
    assert names(folder) == {MANIFEST, "00000.frames", "00000.latents", "00001.frames", "00001.latents"}


def test_what_has_no_row_is_swept(folder: Path) -> None:
    (folder / "00004.frames").write_bytes(b"half a chunk")
    ChunkStore(folder, MADE_FROM, look_into(folder, MADE_FROM, latents=True)).close()
    assert "00004.frames" not in names(folder)
    assert len(look_into(folder, MADE_FROM, latents=True).chunks) == 4


def test_another_folder_is_taken_over_and_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = look_into(folder, MADE_FROM, latents=True)
    store = ChunkStore(tmp_path / "other", MADE_FROM, found)
    store.put_chunk(1, frames(9), latents(9))
    store.close()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(look_into(tmp_path / "other", MADE_FROM, latents=True).chunks) == 2


@pytest.mark.parametrize("name", ["00002.frames", "00002.state", MANIFEST])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_only_plain_files_are_read(folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere") if kind == "link" else os.mkfifo(folder / name)
    found = look_into(folder, MADE_FROM, latents=True)
    if name.endswith("state"):
        assert not found.states[2].is_sound()
    else:
        assert len(found.chunks) < 4 and len(found.damaged) == 1


@pytest.mark.parametrize("name", [f"{MANIFEST}.new", MANIFEST, "00004.frames", "junk"])
def test_nothing_is_written_through_a_link(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "precious")
    store = ChunkStore(folder, MADE_FROM, look_into(folder, MADE_FROM, latents=True))
    store.put_chunk(4, frames(4), latents(4))
    store.close()
    assert (tmp_path / "precious").read_text() == "precious"
    assert not any(path.is_symlink() for path in folder.iterdir())


def test_a_damaged_line_in_the_middle_is_named(folder: Path) -> None:
    lines = (folder / MANIFEST).read_bytes().splitlines(keepends=True)
    (folder / MANIFEST).write_bytes(b"".join([*lines[:2], b"{}\n", *lines[3:]]))
    found = look_into(folder, MADE_FROM, latents=True)
    assert (len(found.chunks), found.damaged) == (
        1,
        (f"line 3 of {MANIFEST} is damaged: nothing from there on is used",),
    )


def test_a_line_that_was_not_written_to_its_end_is_no_damage(folder: Path) -> None:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-9])
    assert look_into(folder, MADE_FROM, latents=True).damaged == ()


def test_folders_that_somebody_put_there_are_swept(folder: Path) -> None:
    (folder / "sub" / "sub").mkdir(parents=True)
    ChunkStore(folder, MADE_FROM, look_into(folder, MADE_FROM, latents=True)).close()
    assert "sub" not in names(folder)
