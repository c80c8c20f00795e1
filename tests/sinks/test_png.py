from pathlib import Path

import pytest
from PIL import Image

from scope_batch.errors import Interrupted, JobError, OutputError, OutputExistsError, TemporaryError
from scope_batch.sinks import work_folder
from scope_batch.sinks.output import parse_outputs
from scope_batch.sinks.output_set import SinkSettings, foreign_pictures
from scope_batch.sinks.verify import verify_sequence

OVERWRITE = SinkSettings(overwrite=True)


def lay(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"old")


def texts(folder: Path) -> dict[str, str]:
    """Return {name of each picture: the job stored in it}."""
    jobs = {}
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            jobs[path.name] = image.info["scope-batch"]
    return jobs


def stop_now(*_: object) -> None:
    raise Interrupted(15, now=True)


def test_overwriting_a_sequence_spares_pictures_that_no_render_made(tmp_path: Path, render, names):
    lay(tmp_path, "00000.png", "00009.png", "2024.png", "7.png")
    outputs = parse_outputs([str(tmp_path / "%05d.png")], [], None, "job")
    assert foreign_pictures(outputs, 2) == [
        f"{tmp_path}/%05d.png: 1 later pictures are kept: scope-batch did not write them"
    ]
    render(tmp_path / "%05d.png", num_frames=2, settings=OVERWRITE)
    assert names() == ["00000.png", "00001.png", "00009.png", "2024.png", "7.png"]
    assert (tmp_path / "00009.png").read_bytes() == b"old" != (tmp_path / "00000.png").read_bytes()
    verify_sequence(tmp_path / "%05d.png", 2)


@pytest.mark.parametrize("metadata", [None, '{"job": 1}'])
def test_a_shorter_sequence_takes_the_place_of_a_longer_one(tmp_path: Path, render, names, metadata):
    render(tmp_path / "%d.png", num_frames=12, settings=SinkSettings(metadata=metadata))
    render(tmp_path / "%d.png", num_frames=3, settings=OVERWRITE)
    assert names() == ["0.png", "1.png", "2.png"] and {*texts(tmp_path).values()} == {"{}"}


def test_a_stop_at_once_leaves_an_older_sequence_as_it_was(tmp_path: Path, render):
    render(tmp_path / "%d.png", num_frames=12, settings=SinkSettings(metadata='{"job": 1}'))
    before = texts(tmp_path)
    with pytest.raises(Interrupted):
        render(tmp_path / "%d.png", settings=SinkSettings(overwrite=True, metadata='{"job": 2}'), between=stop_now)
    assert texts(tmp_path) == before and len(before) == 12


def test_a_stop_keeps_the_pictures_so_far_as_partials_beside_an_older_sequence(tmp_path: Path, render, names):
    render(tmp_path / "%d.png", num_frames=2)

    def stop(*_: object) -> None:
        raise Interrupted(15)

    with pytest.raises(Interrupted):
        render(tmp_path / "%d.png", settings=OVERWRITE, between=stop)
    assert names() == sorted(["0.png", "1.png", *(f"{index}.partial.png" for index in range(9))])
    render(tmp_path / "%d.png", num_frames=1, settings=OVERWRITE)
    assert names() == ["0.png"]


def test_a_second_writer_of_a_sequence_is_refused(tmp_path: Path, render):
    def again(*_: object) -> None:
        with pytest.raises(TemporaryError, match="another process is writing it"):
            render(tmp_path / "%d.png", settings=OVERWRITE)

    render(tmp_path / "%d.png", num_frames=9, between=again)
    verify_sequence(tmp_path / "%d.png", 9)


def test_a_folder_in_the_place_of_a_picture_is_refused_before_anything_is_written(tmp_path: Path, render, names):
    (tmp_path / "1.png").mkdir()
    with pytest.raises(JobError, match=r"1\.png: exists and is not a plain file"):
        render(tmp_path / "%d.png", settings=OVERWRITE)
    assert names() == ["1.png"]


def test_a_sequence_of_two_renders_is_not_whole(tmp_path: Path, render):
    pattern = tmp_path / "%d.png"
    render(pattern, num_frames=3, settings=SinkSettings(metadata='{"job": 1}'))
    verify_sequence(pattern, 3)
    render(tmp_path / "other" / "%d.png", num_frames=1, settings=SinkSettings(metadata='{"job": 2}'))
    (tmp_path / "other" / "0.png").replace(tmp_path / "1.png")
    with pytest.raises(OutputError, match="another render"):
        verify_sequence(pattern, 3)


def test_a_damaged_picture_is_noticed(tmp_path: Path, render):
    render(tmp_path / "%d.png", num_frames=3)
    data = bytearray((tmp_path / "1.png").read_bytes())
    data[-100] ^= 1
    (tmp_path / "1.png").write_bytes(data)
    with pytest.raises(OutputError, match=r"1\.png: is not a whole PNG"):
        verify_sequence(tmp_path / "%d.png", 3)


def test_a_preview_replaces_only_pictures_that_a_render_made(tmp_path: Path, render):
    preview = SinkSettings(preview=tmp_path / "p.png", overwrite=False)
    lay(tmp_path, "p.png")
    with pytest.raises(OutputExistsError, match=r"p\.png: exists"):
        render(tmp_path / "a.npy", settings=preview)
    (tmp_path / "p.png").unlink()
    for name in ("a.npy", "b.npy"):
        render(tmp_path / name, num_frames=9, settings=preview)


def test_pictures_are_synced_one_by_one_and_a_preview_never(tmp_path: Path, render, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(work_folder.os, "fsync", synced.append)
    render(tmp_path / "%d.png", num_frames=3, settings=SinkSettings(preview=tmp_path / "p" / "p.png"))
    pictures, locks, journals, folders = 3, 2, 1, 3
    assert len(synced) == pictures + locks + journals + folders
