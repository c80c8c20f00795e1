from __future__ import annotations

from pathlib import Path

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.access import is_file, reading, status_of

LONG = "x" * 300


def test_a_missing_file_has_no_status(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert status_of(tmp_path / "file") is not None and is_file(tmp_path / "file")
    assert status_of(tmp_path / "none") is None and status_of(tmp_path / "file" / "below") is None
    assert not is_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [(LONG, "File name too long"), ("a\0b", "is not a valid file name"), ("a\ud800", "is not a valid file name")],
)
def test_an_invalid_file_name_is_one_short_line(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(JobError, match=message) as caught:
        status_of(tmp_path / name)
    assert len(str(caught.value)) < 300
    with pytest.raises(JobError, match=message), reading(tmp_path / name):
        (tmp_path / name).open()


def test_a_file_that_went_away_is_missing_and_other_faults_pass(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="gone: no such file"), reading(tmp_path / "gone"):
        (tmp_path / "gone").open()
    with pytest.raises(ValueError, match="of somebody else"), reading(tmp_path):
        raise ValueError("of somebody else")
