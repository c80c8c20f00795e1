"""What is sent to a server, and in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import TemporaryError
from scope_batch.events import Finished
from scope_batch.job import parse_job
from scope_batch.job.positions import Source
from scope_batch.render.options import RenderOptions
from scope_batch.submit.run import RemoteJob, prepare_remote_job, send
from tests.submit.answers import JOB, Answer, says, server


def remote(tmp_path: Path) -> RemoteJob:
    """A job with one input."""
    np.save(tmp_path / "in.npy", np.zeros((9, 64, 64, 3), np.uint8))
    fields = {"pipeline_id": "slate", "prompt": "x", "num_frames": 9, "height": 64, "width": 64}
    job = parse_job({**fields, "input_path": str(tmp_path / "in.npy")}, Source(name="job"))
    options = RenderOptions(outputs=(str(tmp_path / "a.npy"),))
    prepared = prepare_remote_job(job, "job", options, lambda _: None)
    assert not isinstance(prepared, Finished)
    return prepared


def test_nothing_is_sent_to_a_busy_server(tmp_path: Path) -> None:
    made, requests, _ = server(says(active=2, most_active=2))
    with pytest.raises(TemporaryError, match="busy: 2 of at most 2 jobs run or wait"):
        send(remote(tmp_path), made, lambda _: None)
    assert [request.method for request in requests] == ["GET"]


@pytest.mark.parametrize("answer", [says(active=1, most_active=2), says(404)], ids=["free", "does not tell"])
def test_the_inputs_are_sent_before_the_job(answer: Answer, tmp_path: Path) -> None:
    made, requests, _ = server(answer, says(file="file-1"), says(job=JOB))
    assert send(remote(tmp_path), made, lambda _: None) == JOB
    paths = [request.url.path for request in requests]
    assert paths == ["/api/v1/jobs", "/api/v1/files", "/api/v1/submissions"]
