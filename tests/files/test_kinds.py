"""Placeholders of files that were not downloaded are named, wherever a file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_batch.core.timeline import ClipSource
from scope_batch.errors import JobError
from scope_batch.files.kinds import remedy
from scope_batch.importing.formats import read_export
from scope_batch.importing.notes import ImportNotes
from scope_batch.job import load_job
from scope_batch.media.images import read_still
from scope_batch.media.open import open_source
from scope_batch.media.validate import probe_material
from scope_batch.models.checkpoint import read_checkpoint
from scope_batch.sinks.metadata import read_metadata

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
MESSAGE = (
    r"a\.\w+: (not a safetensors file: it looks like|is) a Git LFS pointer, which `git lfs pull` replaces by the file"
)


@pytest.mark.parametrize(
    ("name", "read"),
    [*((f"a{suffix}", open_source) for suffix in (".mp4", ".png", ".webp", ".npy", ".avi")), ("a.png", read_still),
     ("a.safetensors", lambda path: probe_material(ClipSource("control", path))), ("a.pt", read_checkpoint),
     ("a.pth", read_checkpoint), ("a.json", load_job), ("a.yaml", load_job), ("a.mp4", read_metadata),
     ("a.png", read_metadata), ("a.json", lambda path: read_export(path.read_bytes(), path.name, ImportNotes()))],
)  # fmt: skip
def test_a_git_lfs_pointer_is_named(tmp_path: Path, name: str, read) -> None:
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(JobError, match=MESSAGE):
        read(tmp_path / name)


def test_a_pointer_among_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(POINTER)
    with pytest.raises(JobError, match=MESSAGE):
        open_source(tmp_path)


def test_a_web_page_in_the_place_of_a_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("<!DOCTYPE html><html>404</html>")
    with pytest.raises(JobError, match=r"^a.mp4: is a web page"):
        open_source(tmp_path / "a.mp4")


def test_kinds_that_are_read_need_no_remedy() -> None:
    assert remedy(".HEIC") == "convert it to .jpg or .png" and remedy(".mp4") == ""
