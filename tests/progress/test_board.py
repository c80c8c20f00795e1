"""Several renders share one table; their lasting lines stand above it."""

from __future__ import annotations

import io
import json

import pytest

from scope_batch.events import Assigned, Warned
from scope_batch.progress import Batch, JsonLines, PlainLines, Reporter, TolerantStream
from scope_batch.progress.board import Board


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def batch(position: int, device: str) -> Batch:
    return Batch(position, 3, 2.0, device)


def test_a_row_tells_job_device_chunk_speed_and_end(monkeypatch, out, clock, started, done):
    monkeypatch.setenv("COLUMNS", "140")
    with Board(TolerantStream(out), 3, clock, forced=True) as board:
        with Reporter([board.row("a.yaml")], clock, batch(1, "cuda:0")) as report:
            report(Assigned("cuda:0", "process 1", 1))
            report(started)
            report(done(0))
            board._live.refresh()
        with Reporter([board.row("b.yaml")], clock, batch(2, "cuda:1")) as report:
            report(Assigned("cuda:1", "process 2", 1))
            board._live.refresh()
    shown = out.getvalue()
    for text in (
        "a.yaml",
        "cuda:0",
        "2 of 3",
        "9/33",
        "3.00",
        "8.0 s",
        "0 of 3 jobs ended, all in about",
        "b.yaml",
        "cuda:1",
    ):
        assert text in shown, text
    assert "1 of 3 jobs ended" in shown


def test_lasting_lines_name_job_and_device(out, clock, started, finished):
    with Board(TolerantStream(out), 3, clock) as board:
        report = Reporter([board.row("a.yaml")], clock, batch(1, "cuda:0"))
        for event in (started, Warned("odd"), finished):
            report(event)
        board.above.line("error: between")
    lines = out.getvalue().splitlines()
    assert "a.yaml on cuda:0: warning: odd" in lines and "error: between" in lines
    assert any(line.startswith("a.yaml on cuda:0: done: 33 frames") for line in lines)


def test_plain_and_json_lines_name_the_device(out, clock):
    lines = io.StringIO()
    shown = [PlainLines(TolerantStream(out), clock, job="a.yaml"), JsonLines(TolerantStream(lines), "a.yaml", 0, clock)]
    report = Reporter(shown, clock, batch(2, "cpu 1/2"))
    report(Assigned("cpu 1/2", "process 7", 1))
    report.begin_again(batch(2, "cpu 2/2"))
    report(Assigned("cpu 2/2", "process 8", 2))
    assert out.getvalue().splitlines() == ["a.yaml on cpu 1/2: job 2 of 3", "a.yaml on cpu 2/2: job 2 of 3, attempt 2"]
    assert [json.loads(line)["device"] for line in lines.getvalue().splitlines()] == ["cpu 1/2", "cpu 2/2"]


def test_a_job_that_begins_again_forgets_its_progress(clock, started, done):
    report = Reporter([], clock, batch(1, "cuda:0"))
    report(started)
    report(done(1))
    report.begin_again(batch(1, "cuda:1"))
    assert (report.state.chunk, report.state.started, report.state.batch.device) == (0, False, "cuda:1")
