from __future__ import annotations

from pathlib import Path

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.access import is_file, reading, status_of

LONG = "x" * 300


def test_what_is_not_there_has_no_status(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert status_of(tmp_path / "file") is not None and is_file(tmp_path / "file")
    assert status_of(tmp_path / "none") is None and status_of(tmp_path / "file" / "below") is None
    assert not is_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [(LONG, "File name too long"), ("a\0b", "no name that a file"), ("a\ud800", "no name that a file")],
)
def test_a_name_that_no_file_can_have_is_one_short_line(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(JobError, match=said) as caught:
        status_of(tmp_path / name)
    assert len(str(caught.value)) < 300
    with pytest.raises(JobError, match=said), reading(tmp_path / name):
        (tmp_path / name).open()


def test_a_file_that_went_away_is_missing_and_other_faults_pass(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="gone: no such file"), reading(tmp_path / "gone"):
        (tmp_path / "gone").open()
    with pytest.raises(ValueError, match="of somebody else"), reading(tmp_path):
        raise ValueError("of somebody else")
