from pathlib import Path

import pytest

from scope_batch.errors import JobError, OutputError, OutputExistsError
from scope_batch.sinks.output import refuse_existing, refuse_long_names


def test_existing_files_are_replaced_only_with_overwrite_and_other_things_never(tmp_path: Path):
    (tmp_path / "a").touch()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        refuse_existing(tmp_path / "a", overwrite=False)
    refuse_existing(tmp_path / "a", overwrite=True)
    for special in (tmp_path, Path("/dev/null")):
        with pytest.raises(JobError, match="not a plain file"):
            refuse_existing(special, overwrite=True)


@pytest.mark.parametrize(("length", "fits"), [(242, True), (243, False), (250, False), (255, False)])
def test_a_name_must_leave_room_for_the_longest_file_made_beside_it(tmp_path: Path, length: int, fits: bool):
    path = tmp_path / ("ä" * ((length - 4) // 2) + "b" * (length % 2) + ".npy")
    assert len(path.name.encode()) == length
    if fits:
        refuse_long_names(path, path.name)
        (tmp_path / f"{path.stem}.partial.npy.json").touch()
    else:
        with pytest.raises(OutputError, match=rf"{length - 242} bytes too long"):
            refuse_long_names(path, path.name)


def test_a_sequence_is_as_long_as_its_last_picture(tmp_path: Path):
    pattern = tmp_path / ("a" * 235 + "%d.png")
    refuse_long_names(pattern, "a" * 235 + "9999.png")
    with pytest.raises(OutputError, match="too long"):
        refuse_long_names(pattern, "a" * 235 + "9999999999.png")


def test_a_path_must_leave_room_for_the_work_folder(tmp_path: Path):
    folder = tmp_path
    while len(str(folder)) < 3900:
        folder /= "d" * 90
    with pytest.raises(OutputError, match="path is too long"):
        refuse_long_names(folder / ("a" * 100 + ".npy"), "a" * 100 + ".npy")
