"""What `submit` says of a job on the server when it ends with an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from scope_batch import __version__
from scope_batch.cli.job_argument import JobText
from scope_batch.cli.submit import _Submission
from scope_batch.errors import OutputError, ScopeBatchError, TemporaryError
from scope_batch.render.options import RenderOptions
from scope_batch.submit.connection import Server
from tests.submit.answers import JOB, URL, streams

TEXT = "{pipeline_id: slate, prompt: x, num_frames: 9, height: 64, width: 64}"


def attached(kind: str, tmp_path: Path, **data: Any) -> None:
    """Attach to a job that ends with this event; without a kind, the server is away for good."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(200, json={"version": __version__})
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={"job_sha256": None, "jobs_ahead": 0, "result": RESULT})
        if not kind:
            raise httpx.ConnectError("refused")
        return streams((1, kind, data))(request)

    seconds = iter(range(0, 1 << 30, 1000))
    server = Server(URL, pause=lambda _: None, clock=lambda: next(seconds), transport=httpx.MockTransport(handle))
    options = RenderOptions(outputs=(str(tmp_path / "a.npy"),))
    text = JobText(TEXT, "job.yaml", tmp_path, "job")
    _Submission(server, lambda _: None, text, "job", (), options, JOB).run(detach=False)  # type: ignore[arg-type]


RESULT = {"output_path": "x", "size_bytes": 0, "sha256": "", "models_sha256": {}, "environment": None, "generator": ""}


@pytest.mark.parametrize(("exit_code", "error"), [(74, OutputError), (75, TemporaryError)])
def test_a_job_that_failed_does_not_go_on(exit_code: int, error: type[ScopeBatchError], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        attached("failed", tmp_path, error="no room", exit_code=exit_code)
    assert getattr(caught.value, "__notes__", []) == []


@pytest.mark.parametrize(("kind", "note"), [("", "the job goes on"), ("done", "the video is on the server")])
def test_a_job_that_was_not_fetched_can_be_attached_to(kind: str, note: str, tmp_path: Path) -> None:
    with pytest.raises(TemporaryError) as caught:
        attached(kind, tmp_path)
    assert caught.value.__notes__ == [f"{note}: scope-batch submit --attach {JOB}"]
