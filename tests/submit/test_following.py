"""Events of a job on a server, over lost connections."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from scope_batch.errors import (
    EXIT_BUG,
    JobError,
    MissingInputError,
    OutputError,
    ScopeBatchError,
    TemporaryError,
    TimeLimitError,
    UnavailableError,
)
from scope_batch.events import ChunkDone, Event, Loading, Resumed, Started, Warned
from scope_batch.submit.connection import PATIENCE_S, LostError, Server, UnknownJobError
from scope_batch.submit.following import CancelledJob, events_in, follow
from tests.submit.answers import JOB, refused, says, server, streams

STARTED: dict[str, Any] = {
    "pipeline_id": "slate", "chunks": 2, "num_frames": 21, "fps": 16.0, "height": 64, "width": 64, "load_s": 0.5,
}  # fmt: skip
CHUNK: dict[str, Any] = {
    "chunk": 0, "chunks": 2, "frames": 9, "frames_done": 9, "num_frames": 21, "seconds": 1.0, "elapsed_s": 1.0,
    "fps": 9.0, "eta_s": 1.0, "prompt": "a cat",
}  # fmt: skip
DONE: dict[str, Any] = {"frames": 21, "error": "", "exit_code": 0}


def followed(made: Server) -> list[Event]:
    events: list[Event] = []
    follow(made, JOB, events.append, ("out.mp4",))
    return events


def test_events_are_those_of_a_render_here() -> None:
    resumed = {"chunk": 1, "first_frame": 9, "again": 0}
    made, _, _ = server(
        streams(
            (1, "loading", {"what": "vae"}),
            (2, "started", STARTED),
            (3, "resumed", resumed),
            (4, "chunk", CHUNK),
            (5, "warning", {"message": "x"}),
            (6, "done", DONE),
        )
    )
    loading, started, back, chunk, warned = followed(made)
    assert (loading, warned) == (Loading("vae"), Warned("x"))
    assert isinstance(started, Started)
    assert started.outputs == ("out.mp4",)
    assert back == Resumed(1, 9, 0, "the server")
    assert isinstance(chunk, ChunkDone)
    assert chunk.frames_done == 9


def test_after_a_lost_connection_it_goes_on_behind_the_last_event() -> None:
    made, requests, time = server(
        streams((4, "started", STARTED), broken=True),
        refused,
        streams((5, "chunk", CHUNK)),
        streams((6, "done", DONE)),
    )
    assert [type(event) for event in followed(made)] == [Started, ChunkDone]
    assert [request.headers["last-event-id"] for request in requests] == ["0", "4", "4", "5"]
    assert time.pauses == [0.5, 1, 0.5], "what came through begins the pauses anew"


def test_a_server_that_shuts_down_is_waited_for() -> None:
    made, _, time = server(streams((0, "error", {"error": "the server is shutting down"})), streams((1, "done", DONE)))
    assert followed(made) == []
    assert time.pauses == [0.5]


def test_a_server_that_does_not_come_back() -> None:
    made, _, _ = server(streams((1, "started", STARTED), broken=True), refused)
    with pytest.raises(LostError):
        followed(made)


def test_a_sign_of_life_is_no_event_but_begins_the_patience_anew() -> None:
    """A proxy that cuts every connection of a job that only waits."""
    made, _, time = server(*[streams(broken=True)] * 100, streams((1, "done", DONE)))
    made.pause = lambda seconds: time.pause(seconds + 60)
    assert followed(made) == []
    assert time.now_s > PATIENCE_S


def test_a_page_of_a_proxy_is_no_sign_of_life() -> None:
    made, _, _ = server(lambda _: httpx.Response(200, text="<html>\n\n", headers={"Content-Type": "text/html"}))
    with pytest.raises(LostError, match="is no stream of events"):
        followed(made)


def test_a_job_that_is_gone() -> None:
    made, _, _ = server(says(404, detail="there is no such job"))
    with pytest.raises(UnknownJobError, match="there is no such job"):
        followed(made)


@pytest.mark.parametrize(
    ("exit_code", "error"),
    [
        (65, JobError),
        (66, MissingInputError),
        (69, UnavailableError),
        (74, OutputError),
        (75, TemporaryError),
        (124, TimeLimitError),
        (EXIT_BUG, ScopeBatchError),
    ],
)
def test_a_job_that_failed_ends_as_its_render_would(exit_code: int, error: type[ScopeBatchError]) -> None:
    made, _, _ = server(streams((1, "failed", {"error": "a: x\nb: y", "exit_code": exit_code, "frames": 0})))
    with pytest.raises(error) as caught:
        followed(made)
    assert (caught.value.exit_code, str(caught.value)) == (exit_code, "a: x\nb: y")


def test_a_cancelled_job_ends_as_after_ctrl_c() -> None:
    made, _, _ = server(streams((1, "cancelled", DONE)))
    with pytest.raises(CancelledJob) as caught:
        followed(made)
    assert caught.value.exit_code == 130


def test_unknown_events_and_fields_of_a_later_version_are_passed_over() -> None:
    more = {**CHUNK, "new": 1}
    made, _, _ = server(streams((1, "new", {}), (2, "loading", {}), (3, "chunk", more), (4, "done", DONE)))
    assert [type(event) for event in followed(made)] == [ChunkDone]


def test_lines_of_a_stream() -> None:
    lines = ["retry: 3000", "", ": still here", "", "id: 7", "event: a", 'data: {"x":', "data: 1}", "", "event: b", ""]
    assert [*events_in(lines)] == [(7, "a", {"x": 1})]


@pytest.mark.parametrize("data", ["{", "[1]", "7", "[" * 100_000])
def test_an_event_that_is_no_object_ends_with_one_line(data: str) -> None:
    with pytest.raises(TemporaryError, match=r"^the server sent an event that cannot be read: "):
        list(events_in(["event: chunk", f"data: {data}", ""]))
