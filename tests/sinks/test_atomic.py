from pathlib import Path

import pytest

from scope_batch.errors import JobError, OutputError, OutputExistsError, TemporaryError
from scope_batch.sinks.atomic import PartFile, refuse_existing
from scope_batch.sinks.npy import NpySink


def test_two_writers_of_one_output_are_refused(tmp_path: Path, names):
    first = PartFile(tmp_path / "a.npy", overwrite=False)
    first.open()
    with pytest.raises(TemporaryError, match="another process"):
        PartFile(tmp_path / "a.npy", overwrite=False).open()
    first.discard()
    again = PartFile(tmp_path / "a.npy", overwrite=False)
    again.open()
    again.discard()
    assert names() == []


def test_what_a_crash_left_behind_is_written_over(tmp_path: Path):
    (tmp_path / "a.npy.part").write_bytes(b"old")
    part = PartFile(tmp_path / "a.npy", overwrite=False)
    part.open()
    assert part.part.stat().st_size == 0
    part.discard()


def test_an_output_that_appears_meanwhile_is_not_replaced_and_the_render_not_lost(tmp_path: Path, make_frames, names):
    with pytest.raises(OutputExistsError), NpySink(tmp_path / "a.npy", 1, 64, 96) as sink:
        sink.write(make_frames(1))
        (tmp_path / "a.npy").write_bytes(b"theirs")
    assert (tmp_path / "a.npy").read_bytes() == b"theirs" and names() == ["a.npy", "a.partial.npy"]


def test_existing_files_are_replaced_only_when_asked_and_other_things_never(tmp_path: Path):
    (tmp_path / "a").touch()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        refuse_existing(tmp_path / "a", overwrite=False)
    refuse_existing(tmp_path / "a", overwrite=True)
    for special in (tmp_path, Path("/dev/null")):
        with pytest.raises(JobError, match="not a plain file"):
            refuse_existing(special, overwrite=True)


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/a\.npy"):
        PartFile(tmp_path / "file" / "a.npy", overwrite=False).open()
