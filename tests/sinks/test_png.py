from pathlib import Path

import pytest

from scope_batch.errors import Interrupted, OutputError
from scope_batch.sinks import atomic
from scope_batch.sinks.open import SinkSettings
from scope_batch.sinks.verify import verify_png

OVERWRITE = SinkSettings(overwrite=True)


def lay(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"old")


def test_overwriting_a_sequence_spares_pictures_that_are_not_its_own(tmp_path: Path, render, names):
    lay(tmp_path, "00000.png", "00009.png", "2024.png", "7.png")
    render(tmp_path / "%05d.png", num_frames=2, settings=OVERWRITE)
    assert names() == ["00000.png", "00001.png", "2024.png", "7.png"]
    assert (tmp_path / "7.png").read_bytes() == b"old" != (tmp_path / "00000.png").read_bytes()


def test_a_stop_leaves_the_older_pictures_that_were_not_replaced_yet(tmp_path: Path, render, names):
    lay(tmp_path, "00000.png", "00040.png")

    def stop(*_):
        raise Interrupted(15, now=True)

    with pytest.raises(Interrupted):
        render(tmp_path / "%05d.png", settings=OVERWRITE, between=stop)
    assert {"00000.png", "00040.png"} <= set(names())


def test_a_sequence_of_two_renders_is_not_whole(tmp_path: Path, render):
    pattern = tmp_path / "%d.png"
    render(pattern, num_frames=3, settings=SinkSettings(metadata='{"job": 1}'))
    verify_png(pattern, 3)
    render(tmp_path / "other" / "%d.png", num_frames=1, settings=SinkSettings(metadata='{"job": 2}'))
    (tmp_path / "other" / "0.png").replace(tmp_path / "0.png")
    with pytest.raises(OutputError, match="different renders"):
        verify_png(pattern, 3)


def test_pictures_are_synced_one_by_one_their_folder_once_and_a_preview_never(tmp_path: Path, render, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(atomic.os, "fsync", synced.append)
    render(tmp_path / "%d.png", num_frames=3, settings=SinkSettings(preview=tmp_path / "p" / "p.png"))
    assert len(synced) == 3 + 1
