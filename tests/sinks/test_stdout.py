import os
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import ClosedPipeError, Interrupted, OutputError, TimeLimitError, UsageError
from scope_batch.media import patience
from scope_batch.sinks.npy import read_npy_stream
from scope_batch.sinks.output import parse_outputs
from scope_batch.sinks.output_set import SinkSettings, check_outputs, claim_outputs, open_sinks


class Reader:
    """The other end of our standard output."""

    def __init__(self) -> None:
        self._read_fd, self.fd = os.pipe()
        self.data = b""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self._thread.join()

    def _run(self) -> None:
        with os.fdopen(self._read_fd, "rb") as stream:
            self.data = stream.read()


def submit_all(plan, form: str, fd: int, fake_chunk, error: Exception | None = None) -> None:
    outputs = parse_outputs(None, ["-"], form, "job")
    settings = SinkSettings(stdout_fd=fd, metadata='{"job": 1}')
    with open_sinks(outputs, plan, settings, claim_outputs(outputs, settings)) as writer:
        for chunk in plan.chunks:
            writer.submit(fake_chunk(chunk), chunk.keep)
        if error:
            raise error


def test_a_reader_that_stalls_past_the_time_limit_ends_the_render(make_plan, fake_chunk, monkeypatch):
    def out_of_time() -> None:
        raise TimeLimitError("the time is over")

    monkeypatch.setattr(patience, "STALL_S", 0.2)
    read_fd, write_fd = os.pipe()
    outputs, settings = parse_outputs(None, ["-"], "npy", "job"), SinkSettings(stdout_fd=write_fd)
    plan = make_plan(90)
    with (
        pytest.raises(TimeLimitError) as raised,
        open_sinks(outputs, plan, settings, claim_outputs(outputs, settings), out_of_time) as writer,
    ):
        for chunk in plan.chunks:
            writer.submit(fake_chunk(chunk), chunk.keep)
    assert raised.value.__notes__ == ["standard output: the reader stood still for 0.2 s and was given up"]
    for fd in (read_fd, write_fd):
        os.close(fd)


def test_npy_goes_down_a_pipe(make_plan, make_frames, fake_chunk, tmp_path: Path):
    with Reader() as reader:
        submit_all(make_plan(30), "npy", reader.fd, fake_chunk)
    (tmp_path / "a.npy").write_bytes(reader.data)
    assert np.array_equal(np.load(tmp_path / "a.npy"), make_frames(30))
    with (tmp_path / "a.npy").open("rb") as stream:
        assert sum(1 for _ in read_npy_stream(stream)) == 30


def test_npy_goes_into_a_redirected_file(make_plan, make_frames, fake_chunk, tmp_path: Path):
    with (tmp_path / "a.npy").open("wb") as file:
        submit_all(make_plan(10), "npy", file.fileno(), fake_chunk)
    assert np.array_equal(np.load(tmp_path / "a.npy"), make_frames(10))


@pytest.mark.parametrize("form", ["nut", "mkv", "mp4", "webm"])
def test_video_goes_down_a_pipe(make_plan, make_frames, fake_chunk, decoded, tmp_path: Path, form):
    with Reader() as reader:
        submit_all(make_plan(13), form, reader.fd, fake_chunk)
    (tmp_path / "a").write_bytes(reader.data)
    frames = decoded(tmp_path / "a")
    assert len(frames) == 13
    assert form != "nut" or np.array_equal(frames, make_frames(13))


def test_a_stop_ends_the_stream_properly(make_plan, fake_chunk, decoded, tmp_path: Path):
    with Reader() as reader, pytest.raises(Interrupted):
        submit_all(make_plan(13), "mp4", reader.fd, fake_chunk, Interrupted(2))
    (tmp_path / "a").write_bytes(reader.data)
    assert len(decoded(tmp_path / "a")) == 13


@pytest.mark.parametrize("form", ["npy", "nut", "mp4"])
def test_a_reader_that_exits_raises_a_closed_pipe_error(make_plan, fake_chunk, form):
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    try:
        with pytest.raises(ClosedPipeError):
            submit_all(make_plan(200), form, write_fd, fake_chunk)
    finally:
        os.close(write_fd)


@pytest.mark.parametrize("form", ["npy", "nut"])
def test_a_reader_that_does_not_read_cannot_block_a_stop(make_plan, fake_chunk, form):
    read_fd, write_fd = os.pipe()
    plan = make_plan(200)
    try:  # otherwise the writer would wait for the reader for ever
        outputs = parse_outputs(None, ["-"], form, "job")
        settings = SinkSettings(stdout_fd=write_fd)
        with (
            pytest.raises(Interrupted),
            open_sinks(outputs, plan, settings, claim_outputs(outputs, settings)) as writer,
        ):
            for chunk in plan.chunks[:3]:
                writer.submit(fake_chunk(chunk), chunk.keep)
            raise Interrupted(2, now=True)
    finally:
        os.close(write_fd)
        os.close(read_fd)


def test_a_full_disk_behind_standard_output_is_an_output_error(make_plan, fake_chunk):
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OutputError, match="No space left"):
        submit_all(make_plan(3), "npy", full.fileno(), fake_chunk)


def test_never_to_a_terminal_or_a_closed_descriptor(make_plan):
    ours, theirs = os.openpty()
    outputs = parse_outputs(None, ["-"], None, "job")
    with pytest.raises(UsageError, match="is a terminal"):
        check_outputs(outputs, make_plan(3), SinkSettings(stdout_fd=theirs))
    os.close(theirs)
    os.close(ours)
    with pytest.raises(OutputError, match="Bad file descriptor"):
        check_outputs(outputs, make_plan(3), SinkSettings(stdout_fd=theirs))


def test_reading_a_stream_needs_no_torch(python):
    check = "import scope_batch.sinks.output_set, scope_batch.sinks.npy, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([python, "-c", check], check=True)
