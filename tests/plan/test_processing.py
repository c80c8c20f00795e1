from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from io import StringIO
from itertools import pairwise, takewhile
from typing import Any

import pytest
from rich.console import Console

from scope_batch.core.plan import Plan
from scope_batch.errors import JobError
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_to_dict
from scope_batch.plan.view.table import render_plan
from tests.plan.helpers import plan, video_plan
from tests.plan.steering import steered
from tests.processors.kinds import install


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def shown(planned: Plan) -> list[str]:
    console = Console(width=120, file=StringIO(), highlight=False)
    with console.capture() as capture:
        console.print(render_plan(planned))
    return capture.get().splitlines()


def column(lines: list[str], title: str) -> list[str]:
    """Return a column of the table of chunks."""
    head = next(index for index, line in enumerate(lines) if line.split()[:1] == ["chunk"])
    place = lines[head].split().index(title)
    rows = takewhile(str.strip, lines[head + 2 :])
    return [row.split()[place] for row in rows]


def test_without_processors_all_frames_are_delivered() -> None:
    planned = plan()
    assert (planned.delivery.frames, planned.delivery.fps, planned.delivery.height) == (96, 16, planned.height)
    assert all(len(planned.delivered(chunk)) == chunk.keep for chunk in planned.chunks)
    assert not any(line.split()[:4] == ["chunk", "frames", "keep", "out"] for line in shown(planned))


@pytest.mark.parametrize("names", ["double", "far", "half", ["double", "far", "half"], ["half", "double", "double"]])
@pytest.mark.parametrize("num_frames", [1, 9, 10, 96])
def test_the_chunks_deliver_all_frames_without_a_gap(names: str | list[str], num_frames: int) -> None:
    planned = plan(num_frames=num_frames, post_processor_id=names)
    parts = [planned.delivered(chunk) for chunk in planned.chunks]
    assert parts[0].start == 0 and parts[-1].stop == planned.delivery.frames
    assert all(before.stop == after.start for before, after in pairwise(parts))


def test_the_table_shows_processors_and_delivered_frames() -> None:
    lines = shown(video_plan(num_frames=25, pre_processor_id=["gray", "trail"], post_processor_id=["double", "half"]))
    assert lines[1].startswith(
        "input through gray -> trail · out through double -> half: 25 frames of 288x160 at 16 fps"
    )
    assert column(lines, "out") == ["0-11", "12-24"]


def test_chunks_without_delivered_frames_are_marked() -> None:
    assert column(shown(plan(num_frames=21, post_processor_id="far")), "out") == ["none", "0-20"]


def test_the_document_has_them_with_their_parameters() -> None:
    edges = {"id": "edges", "params": {"strength": 2.0}}
    document = plan_to_dict(plan(num_frames=10, fps=Fraction(30000, 1001), post_processor_id=[edges, "double"]))
    assert document["post_processors"] == [edges, {"id": "double", "params": {}}]
    assert (document["pre_processors"], document["pre_processor_output"]) == ([], "video")
    assert document["delivered"]["num_frames"] == 20 and document["delivered"]["fps_exact"] == "60000/1001"
    assert [chunk["delivered"] for chunk in document["chunks"]] == [16, 4]
    assert document["forecast"]["npy_bytes"] == 20 * document["height"] * document["width"] * 3 + 128


def test_control_from_processed_input_is_planned_as_text() -> None:
    planned = video_plan(pre_processor_id="edges", pre_processor_output="vace_frames", vace_context_scale=0.5)
    assert {chunk.mode for chunk in planned.chunks} == {"text"} and all(chunk.vace for chunk in planned.chunks)
    (placement,) = planned.placements
    assert placement.processed and (placement.source.kind, placement.first_frame, placement.end_frame) == (
        "control",
        0,
        96,
    )


CHANGES = "allowed as a post_processor_id only"
BAD: list[tuple[dict[str, Any], str]] = [
    ({"pre_processor_id": ["gray", "double"]},
     rf"pre_processor_id\[1\]: double changes the number of frames: {CHANGES}"),
    ({"pre_processor_id": "half"}, rf"pre_processor_id\[0\]: half changes the size of the frames: {CHANGES}"),
    ({"pre_processor_output": "vace_frames"}, "pre_processor_output: cannot be honoured, there is no pre_processor_id"),
    ({"pre_processor_id": "gray", "noise_scale": 0.5, "pre_processor_output": "vace_frames"},
     r"noise_scale: cannot be honoured, the input video steers through VACE \(pre_processor_output\)"),
    ({"pre_processor_id": "gray", "vace_use_input_video": True, "pre_processor_output": "video"},
     "cannot go into the latents as well as through VACE"),
    ({"pre_processor_id": "gray", "vace_frames": "/a.mp4", "pre_processor_output": "vace_frames"},
     "the control frames are set twice, first by pre_processor_output"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "line"), BAD)
def test_an_impossible_use_is_refused(fields: dict[str, Any], line: str) -> None:
    with pytest.raises((JobError, ValueError), match=line):
        video_plan(**fields)


def test_a_pre_processor_needs_an_input_and_for_vace_a_pipeline_that_has_it() -> None:
    with pytest.raises(JobError, match="pre_processor_id: cannot be honoured, there is no input video"):
        plan(pre_processor_id="gray")
    bare = replace(PIPELINES["longlive"], id="bare", vace=False)
    with pytest.raises(JobError, match="pre_processor_output: bare has no VACE; allowed: video"):
        video_plan(spec=bare, pre_processor_id="gray", pre_processor_output="vace_frames")


def test_input_of_entries_goes_through_vace_unprocessed_and_is_refused() -> None:
    entry = {"chunk": 1, "input_video": "/other 12.npy"}
    steering = {"pre_processor_id": "gray", "input_path": "/clip.mp4"}
    line = r"chunk_specs\[0\]\.input_video: would not be pre-processed"
    with pytest.raises(JobError, match=line):
        steered(entry, **steering, vace_use_input_video=True)
    assert steered(entry, **steering).chunks[1].mode == "video"
