"""Defects of the first server of this protocol that no other test would find; DEFECTS.md lists all of them."""

from __future__ import annotations

import json
import logging
import re
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from scope_batch.cli.app import app
from scope_batch.events import ChunkDone, Event
from scope_batch.job import parse_job
from scope_batch.media.arrays import BIN_HEADER
from scope_batch.media.chunk_inputs import open_inputs
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job
from scope_batch.serve.guard import Access
from scope_batch.serve.requests import translate
from tests.serve.bodies import SHAPE, VIDEO
from tests.serve.conftest import Call
from tests.serve.test_application import REQUEST, World, load, make_world

SIZE = {"height": 64, "width": 64}
HANDLE = "video-" + "0" * 32
MIB = 1 << 20
TESTS = Path(__file__).parents[1]


@pytest.fixture
def world(tmp_path: Path, call: Call) -> Iterator[World]:
    with make_world(tmp_path) as made:
        load(made, call)
        yield made


def read(world: World, **fields: Any) -> int:
    """Read the inputs of the first two chunks of a request; returns the most memory that it took, in bytes."""
    job, _ = translate({"pipeline_id": "slate", "prompt": "a cat", **SIZE, **fields}, {}, world.service.files)
    tracemalloc.start()
    try:
        plan = prepare_job(job)
        with open_inputs(plan) as inputs:
            for _ in range(2):
                inputs.get()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def upload(world: World, frames: int, height: int, width: int) -> None:
    """Lay an upload of black frames, which takes no room on the disk."""
    with (world.folder / "uploads" / f"{HANDLE}.bin").open("wb") as file:
        file.write(BIN_HEADER.pack(4, frames, height, width, 3))
        file.truncate(BIN_HEADER.size + frames * height * width * 3)


def test_the_files_that_a_request_names_stay(world: World, call: Call) -> None:
    victim = world.folder / "victim.bin"
    victim.write_bytes(b"x")
    for name in (str(victim), "../victim.bin"):
        for field in ("input_path", "data_blob_path"):
            assert world.run({**REQUEST, field: name}).status == 422
    world.runner.then = world.runner.finish
    headers = {**SHAPE, "Content-Type": "application/octet-stream"}
    handle = call(world.app, "POST", "/api/v1/batch/upload", content=VIDEO.tobytes(), headers=headers).json()
    assert world.run({**REQUEST, "input_path": handle["input_path"]}).events[-1][0] == "complete"
    assert victim.exists()
    assert world.service.files.uploads.path_of(handle["input_path"], "video").exists()


def test_a_job_that_was_cancelled_keeps_the_worker_until_it_has_ended(world: World, call: Call) -> None:
    job = world.start()
    assert call(world.app, "POST", "/api/v1/batch/cancel").is_success
    assert world.run(REQUEST).status == 409
    world.table.end(job, "cancelled")
    world.runner.then = world.runner.finish
    assert world.run(REQUEST).status == 200


def test_other_machines_are_not_served_unless_asked() -> None:
    command: Any = vars(typer.main.get_command(app))["commands"]["serve"]
    assert Access(command.make_context("serve", []).params["host"]).is_local


def test_a_video_in_the_blob_has_the_slots_of_an_uploaded_one(world: World) -> None:
    frames = 24
    upload(world, frames, **SIZE)
    blob = f"data-{'0' * 32}"
    (world.folder / "uploads" / f"{blob}.bin").write_bytes(bytes(frames * 64 * 64 * 3))
    half = {"input_video_shape": [12, 64, 64, 3]}
    entries = [
        {"chunk": 0, "input_video_offset": 0, **half},
        {"chunk": 1, "input_video_offset": 12 * 64 * 64 * 3, **half},
    ]
    requests = [{"input_path": HANDLE}, {"data_blob_path": blob, "chunk_specs": entries}]
    plans = []
    for fields in requests:
        body = {"pipeline_id": "longlive", "models": "tiny", "prompt": "a cat", "num_frames": frames, **SIZE, **fields}
        job, _ = translate(body, {"models": "tiny"}, world.service.files)
        plans.append(prepare_job(job))
    assert [chunk.keep for chunk in plans[0].chunks] == [chunk.keep for chunk in plans[1].chunks]


def test_one_frame_that_lasts_for_the_whole_job_takes_little_memory(world: World) -> None:
    upload(world, 1, 512, 512)
    assert read(world, input_path=HANDLE, num_frames=10_000, height=512, width=512) < 100 * MIB


def test_a_large_upload_is_read_frame_by_frame(world: World) -> None:
    upload(world, 5000, 512, 512)  # 3.7 GiB
    assert read(world, input_path=HANDLE, num_frames=5000, height=512, width=512) < 100 * MIB


def test_a_text_that_is_named_as_video_is_refused_unread(world: World) -> None:
    (world.folder / "assets" / "notes.bin").write_text("a text\n" * 1000)
    client = world.run({**REQUEST, "input_path": "notes.bin"})
    assert (client.status, client.events) == (422, [])


def test_prompts_are_not_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.runner.then = world.runner.finish
    for fields in (REQUEST, {**REQUEST, "height": 1}):
        world.run({**fields, "prompt": "a confidential cat"})
    assert "confidential" not in caplog.text


def test_a_clock_that_is_set_back_makes_no_negative_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter(range(10_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now_s)))
    events: list[Event] = []
    job = parse_job({"pipeline_id": "slate", "prompt": "a cat", "num_frames": 21, **SIZE})
    render_job(job, "job", RenderOptions(outputs=(str(tmp_path / "out.npy"),)), events.append)
    chunks = [event for event in events if isinstance(event, ChunkDone)]
    assert len(chunks) == 2
    assert all(json.loads(json.dumps(chunk.to_json()))["seconds"] >= 0 and chunk.fps >= 0 for chunk in chunks)


def test_streams_say_after_which_time_to_reconnect(world: World) -> None:
    world.runner.then = world.runner.finish
    assert b"retry: 3000\n" in world.run(REQUEST).text


def test_the_tests_of_every_defect_are_there() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*)$", (TESTS / "serve" / "DEFECTS.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == [*range(1, 36)]
    for number, row in rows:
        names = re.findall(r"`(\S+)::(\w+)`", row)
        assert names, number
        assert [name for file, name in names if f"\ndef {name}(" not in (TESTS / file).read_text()] == []
