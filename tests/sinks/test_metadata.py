import json
import struct
import zlib
from pathlib import Path

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.sinks.metadata import PNG_KEY, add_environment, metadata_text, read_metadata
from scope_batch.sinks.output_set import SinkSettings
from scope_batch.sinks.uptodate import comparable

JOB = {"prompt": "a=b;c#d\\e\nf 猫 \ud800 /not/a/path", "seed": 3, "input_path": "clip.mp4"}


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.nut", "a.npy"])
def test_the_job_comes_back_from_every_format(tmp_path: Path, render, name):
    job = JOB | {"filler": "x=" * 60_000}
    render(tmp_path / name, num_frames=2, settings=SinkSettings(metadata=metadata_text(job)))
    document = read_metadata(tmp_path / name)
    assert document["digitalSourceType"] == "trainedAlgorithmicMedia"
    assert document["job"] == job


def test_every_png_of_a_sequence_carries_the_job(tmp_path: Path, render):
    render(tmp_path / "%d.png", num_frames=2, settings=SinkSettings(metadata=metadata_text(JOB)))
    assert read_metadata(tmp_path / "1.png")["job"]["seed"] == 3


def test_a_partial_has_its_sidecar_and_success_takes_it_away(tmp_path: Path, render, names):
    def stop(*_):
        raise ValueError

    settings = SinkSettings(metadata=metadata_text(JOB))
    with pytest.raises(ValueError):
        render(tmp_path / "a.npy", between=stop, settings=settings)
    assert names() == ["a.partial.npy", "a.partial.npy.json"]
    render(tmp_path / "a.npy", settings=settings)
    assert names() == ["a.npy", "a.npy.json"]


def test_without_metadata_no_job_is_stored_and_an_old_sidecar_is_removed(tmp_path: Path, render, names):
    (tmp_path / "a.npy.json").write_text("{}")
    render(tmp_path / "a.npy", tmp_path / "a.mp4", settings=SinkSettings(overwrite=True))
    assert names() == ["a.mp4", "a.npy"]
    for name in names():
        with pytest.raises(JobError, match="contains no scope-batch job"):
            read_metadata(tmp_path / name)


def test_the_document_is_one_line_and_names_its_inputs_by_content():
    text = metadata_text(JOB, {"input_path": "ab12"})
    assert "\n" not in text and json.loads(text)["job"]["prompt"] == JOB["prompt"]
    assert json.loads(text)["inputs_sha256"] == {"input_path": "ab12"}


def test_a_missing_or_unreadable_file_is_an_error(tmp_path: Path):
    with pytest.raises(MissingInputError):
        read_metadata(tmp_path / "a.mp4")
    for name in ("a.mp4", "a.png"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(JobError, match="is not a readable"):
            read_metadata(tmp_path / name)


def test_a_playlist_is_not_followed_to_another_file(tmp_path: Path, render):
    render(tmp_path / "secret.mp4", num_frames=2, settings=SinkSettings(metadata=metadata_text(JOB)))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(JobError, match=r"list.mp4: is not a readable video"):
        read_metadata(tmp_path / "list.mp4")


def png(path: Path, width: int, height: int, text: str) -> Path:
    """A PNG of that declared size without pixels, its job in an iTXt chunk."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
              b"iTXt" + PNG_KEY.encode() + bytes(5) + text.encode(), b"IDAT", b"IEND"]  # fmt: skip
    body = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize(
    ("size", "text", "message"),
    [(30_000, "", "has too many pixels"), (8, "[" * 200_000, "contains no scope-batch job"),
     (10_000, "{}", "contains no scope-batch job"), (0, "", "is not a readable PNG")],
    ids=["too large", "nested", "large", "empty"],
)  # fmt: skip
def test_a_hostile_png_is_one_line(tmp_path: Path, size: int, text: str, message: str):
    with pytest.raises(JobError, match=rf"a.png: {message}[^\n]*$"):
        read_metadata(png(tmp_path / "a.png", size, size, text))


def test_the_environment_is_added_and_does_not_count_as_another_job() -> None:
    text = metadata_text({"prompt": "a cat"}, film={"fps": "16"})
    whole = json.loads(add_environment(text, {"torch": "2.13.0"}))
    assert whole == json.loads(text) | {"environment": {"torch": "2.13.0"}}
    assert (
        comparable(whole) == comparable(json.loads(text)) == comparable(json.loads(metadata_text({"prompt": "a cat"})))
    )
