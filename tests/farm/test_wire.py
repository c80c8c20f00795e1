"""What a scheduler and its workers tell each other is the same after it has been written and read."""

from __future__ import annotations

import errno
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import (
    DeviceFaultError,
    Interrupted,
    JobError,
    MissingInputError,
    OutputError,
    TemporaryError,
    TimeLimitError,
)
from scope_batch.events import ChunkDone, Finished, OutputFile, Started
from scope_batch.farm.messages import Death, Message, Order, Ready, Result, Stop
from scope_batch.farm.wire import (
    message_from_text,
    message_to_text,
    order_from_text,
    order_to_text,
    stop_from_text,
    stop_to_text,
)
from scope_batch.files.urls import copy_path
from scope_batch.job import load_job, load_text
from scope_batch.job.paths import named_inputs
from scope_batch.jobs.records import BusyError
from scope_batch.render.fingerprint import job_sha256
from scope_batch.render.options import RenderOptions

EXAMPLES = sorted(Path("examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_job_is_the_same_with_its_lines_and_its_fingerprint(path: Path) -> None:
    order = Order(load_job(path), "stem", RenderOptions(), vace=True, expected_bytes=5)
    read = order_from_text(order_to_text(order))
    assert read == order and job_sha256(read.job) == job_sha256(order.job)
    assert read.job.source == order.job.source and read.job.where("prompt") == order.job.where("prompt")


def test_a_variable_stays_as_it_was_written_in_the_metadata() -> None:
    job = load_text("prompt: a ${SECRET}\nnum_frames: 9\n", name="job", environ={"SECRET": "word"})
    read = order_from_text(order_to_text(Order(job, "job", RenderOptions()))).job
    assert read.prompt == job.prompt and read.to_public_dict() == job.to_public_dict()
    assert "word" not in json.dumps(read.to_public_dict())


def test_options_are_the_same() -> None:
    options = RenderOptions(("a.mp4", "b.npy"), latents=Path("l"), work_dir=Path("w"), resume=True, checkpoint_every=3)
    order = Order(load_text("prompt: a\n", name="job"), "job", options)
    assert order_from_text(order_to_text(order)).options == options


def test_an_input_of_shared_storage_is_found_from_another_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    job = load_text(
        "prompt: a\ninput_path: s3://bucket/clip.mp4\nlora_scales: {s3://bucket/a.safetensors: 1}\n", name="j"
    )
    text = order_to_text(Order(job, "job", RenderOptions()))
    monkeypatch.setenv("SCOPE_BATCH_CACHE", "/elsewhere")
    paths = {path for _, path in named_inputs(order_from_text(text).job)}
    assert paths == {copy_path("s3://bucket/clip.mp4"), copy_path("s3://bucket/a.safetensors")}


@pytest.mark.parametrize("error", [Interrupted(signal.SIGTERM), Interrupted(2, reason="cut"), TimeLimitError("over")])
@pytest.mark.parametrize("now", [True, False])
def test_a_reason_to_stop_is_the_same(error: Interrupted | TimeLimitError, now: bool) -> None:
    read = stop_from_text(stop_to_text(Stop(error, now)))
    assert (type(read.error), str(read.error), read.now) == (type(error), str(error), now)
    assert read.error.exit_code == error.exit_code


CHUNK = ChunkDone(0, 2, 9, 9, 18, 1.0, 1.0, 9.0, 1.0, "ä")
DONE = Finished("done", 9, 9, 0.5, 1.0, 9.0, 1, 2, (OutputFile("a.npy", 3),))


@pytest.mark.parametrize(
    "message",
    [Ready("n", "process 7"), Death("killed"), Result(None, "", 0.25), DONE, CHUNK,
     Started("slate", 2, 18, 16.0, 64, 64, ("a.npy", "b.npy"), 0.5)],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_a_message_is_the_same(message: Message) -> None:
    assert message_from_text(message_to_text(message)) == message


@pytest.mark.parametrize(
    "error",
    [JobError("a", "b", more=3), MissingInputError("gone"), OutputError("full"), DeviceFaultError("chunk 3"),
     TemporaryError("killed"), Interrupted(15, now=True), OSError(errno.ENOSPC, "no space", "a.npy"), MemoryError("m"),
     RuntimeError("bug")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_error_keeps_its_class_and_so_its_exit_code(error: Exception) -> None:
    read = message_from_text(message_to_text(Result(error, "Traceback", 0.5)))
    assert isinstance(read, Result) and type(read.error) is type(error) and str(read.error) == str(error)
    assert vars(read.error) == vars(error) and getattr(read.error, "errno", 0) == getattr(error, "errno", 0)
    assert replace(read, error=None) == Result(None, "Traceback", 0.5)


@pytest.mark.parametrize(
    ("error", "read_as", "text"),
    [(BusyError("full"), TemporaryError, "full"), (KeyError("a"), RuntimeError, "KeyError: 'a'")],
)
def test_an_error_of_another_class_becomes_its_nearest_one(error: Exception, read_as: type, text: str) -> None:
    read = message_from_text(message_to_text(Result(error)))
    assert isinstance(read, Result) and type(read.error) is read_as and str(read.error) == text


@pytest.mark.parametrize(
    "values", [{"event": "other"}, {"event": "chunk"}, {"event": "worker-result", "error": {"error": "eval", "message":
               "exit()", "notes": []}, "traceback": "", "idle_s": 0}],
)  # fmt: skip
def test_a_text_of_something_else_runs_nothing(values: dict[str, Any]) -> None:
    try:
        read = message_from_text(json.dumps(values))
    except ValueError:
        return
    assert isinstance(read, Result) and type(read.error) is RuntimeError
