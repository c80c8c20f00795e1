from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from scope_batch.__main__ import main
from scope_batch.core.plan import Chunk
from scope_batch.slate.engine import DrawnChunk, SlateSession
from tests.golden.films import moving_film

JOB = "pipeline_id: slate\nprompt: a cat\nnum_frames: 69\nheight: 64\nwidth: 64\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a job whose picture gets more blurred from chunk to chunk."""

    def generate(_: SlateSession, chunk: Chunk, *__: Any) -> DrawnChunk:
        film = moving_film(69, 64, 64)[chunk.first_frame : chunk.first_frame + chunk.frames]
        film[:, ::2] //= 2
        blur = ImageFilter.GaussianBlur(0.2 * chunk.index)
        return DrawnChunk(np.stack([np.asarray(Image.fromarray(frame).filter(blur)) for frame in film]))

    monkeypatch.setattr(SlateSession, "generate", generate)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def events(kind: str) -> Iterator[dict[str, Any]]:
    for line in Path("progress").read_text().splitlines():
        if (event := json.loads(line))["event"] == kind:
            yield event


@pytest.mark.usefixtures("folder")
def test_every_chunk_is_measured_once_and_before_the_end() -> None:
    assert main(["render", "job.yaml", "-o", "a.npy", "--progress-file", "progress", "-q"]) == 0
    assert [event["chunk"] for event in events("figures")] == [0, 1, 2, 3, 4, 5]
    sharpness = [event["sharpness"] for event in events("figures")]
    assert sharpness == sorted(sharpness, reverse=True)
    assert json.loads(Path("progress").read_text().splitlines()[-1])["event"] == "finished"


@pytest.mark.usefixtures("folder")
def test_a_render_that_degrades_ends_with_its_partial(capfd: pytest.CaptureFixture[str]) -> None:
    stop = ("--set", "stop_if=sharpness < 0.6 * first", "--progress-file", "progress")
    assert main(["render", "job.yaml", "-o", "a.npy", "-o", "a.mkv", *stop, "-q"]) == 76
    measured = [event["sharpness"] for event in events("figures")]
    assert measured[-1] < 0.6 * measured[0] <= measured[-2] and len(measured) < 6
    last = len(measured) - 1
    told = f"error: stop_if: sharpness < 0.6 * first: in chunk {last} sharpness is {measured[-1]:.4g}, the limit is "
    assert told in capfd.readouterr().err
    assert len(np.load("a.partial.npy")) == 9 + 12 * last and not Path("a.npy").exists()
    assert [event["outcome"] for event in events("finished")] == ["interrupted"]


@pytest.mark.usefixtures("folder")
def test_a_condition_that_is_not_met_changes_nothing() -> None:
    assert main(["render", "job.yaml", "-o", "a.npy", "-q"]) == 0
    assert main(["render", "job.yaml", "-o", "a.npy", "--set", "stop_if=flicker > 900", "-q", "-n"]) == 0  # up to date


@pytest.mark.parametrize(("value", "fault"), [("blur > 1", "'blur' is no figure"), ("[3]", "must be a condition")])
@pytest.mark.usefixtures("folder")
def test_a_faulty_condition_is_refused(value: str, fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "job.yaml", "--set", f"stop_if={value}"]) == 65
    assert fault in capfd.readouterr().err
