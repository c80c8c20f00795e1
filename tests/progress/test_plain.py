from __future__ import annotations

import io
import threading
import time
from dataclasses import replace

import pytest

from scope_batch.events import Finished, Loading, OutputFile, Stage, Warned
from scope_batch.progress import PlainLines, Reporter, TolerantStream


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def plain(out, clock) -> PlainLines:
    return PlainLines(TolerantStream(out), clock)


@pytest.fixture
def report(plain, clock) -> Reporter:
    return Reporter([plain], clock)


def test_a_render_in_lines(report, out, clock, started, done, finished):
    events = [Loading("transformer"), started, done(0), done(1), done(2), finished]
    for event in events:
        clock.pass_(4)
        report(event)
    assert out.getvalue().splitlines() == [
        "loading transformer",
        "output out/cat.mp4",
        "output cat.npy",
        "longlive: 33 frames of 832x480 at 16 fps in 3 chunks, loaded in 12 s",
        'chunk 1 of 3: 9/33 frames, 3.00 fps, ETA 8.0 s, "a cat"',
        'chunk 2 of 3: 21/33 frames, 3.00 fps, ETA 4.0 s, "a cat"',
        'chunk 3 of 3: 33/33 frames, 3.00 fps, "a cat"',
        "done: 33 frames in 11 s (3.00 fps), loaded in 12 s, peak memory 3.0 GiB, on the device 10.0 GiB",
        "wrote out/cat.mp4 (1.2 MiB)",
        "wrote cat.npy (900 B)",
    ]


def test_chunk_lines_come_at_most_once_a_second(report, out, clock, done):
    for _ in range(100):
        clock.pass_(0.1)
        report(done(0))
    assert 9 <= out.getvalue().count("chunk 1 of 3") <= 11


def test_silence_is_broken_after_thirty_seconds(report, plain, out, clock, started):
    report(started)
    report(Stage(0, "denoising", 2, 4))
    clock.pass_(28.9)
    plain.beat()
    assert "still" not in out.getvalue()
    for _ in range(2):
        clock.pass_(30)
        plain.beat()
        plain.beat()
    lines = out.getvalue().splitlines()[3:]
    assert lines == [
        "chunk 1 of 3: still denoising 2 of 4 (59 s since the last line)",
        "chunk 1 of 3: still denoising 2 of 4 (30 s since the last line)",
    ]


def test_the_heart_beats_by_itself_and_stops(out):
    before = threading.active_count()
    with PlainLines(TolerantStream(out), heartbeat_s=0.05):
        until = time.monotonic() + 60
        while "still preparing" not in out.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    assert "still preparing" in out.getvalue() and threading.active_count() == before


def test_an_interruption_lists_the_files_kept(report, out):
    kept = (OutputFile("cat.partial.mp4", 2048),)
    report(Finished("interrupted", 21, 33, 1.0, 7.0, 3.0, 1 << 20, 0, kept, "stopped by SIGINT"))
    assert out.getvalue().splitlines() == [
        "interrupted: 21 of 33 frames in 7.0 s (3.00 fps), loaded in 1.0 s, peak memory 1.0 MiB",
        "kept cat.partial.mp4 (2.0 KiB)",
    ]


@pytest.mark.parametrize(("stored", "hint"), [(True, "continues behind them"), (False, "begins anew; with --resume")])
def test_an_interruption_says_what_the_same_command_does(report, out, stored, hint):
    kept = (OutputFile("cat.partial.mp4", 2048),)
    report(Finished("interrupted", 21, 33, 1.0, 7.0, 3.0, 1 << 20, 0, kept, "stopped by SIGINT", stored))
    assert hint in out.getvalue().splitlines()[-1]


def test_warnings_and_notes(report, out):
    report(Warned("a cut"))
    report.note("finishing chunk 1")
    assert out.getvalue() == "warning: a cut\nfinishing chunk 1\n"


def test_a_reader_that_has_gone_does_not_end_the_render(started):
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    stream = TolerantStream(Gone())
    with Reporter([PlainLines(stream)]) as report:
        report(started)
        report(Warned("more"))
    assert isinstance(stream.failure, BrokenPipeError)


def test_a_skipped_job_is_one_line(report, out, finished):
    report(replace(finished, outcome="skipped", frames=0, outputs=(), message="it is there"))
    assert out.getvalue() == "skipped: it is there\n"
