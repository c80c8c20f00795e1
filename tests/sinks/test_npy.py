import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import Interrupted, JobError, OutputError
from scope_batch.sinks.npy import NpySink, npy_header, read_npy_stream, verify_npy


def test_numpy_reads_the_frames_back(tmp_path: Path, make_frames, publish):
    with publish(NpySink, tmp_path / "new" / "a.npy", 21, 64, 96) as sink:
        sink.write(make_frames(9))
        sink.write(make_frames(12, 9))
    assert np.array_equal(np.load(tmp_path / "new" / "a.npy"), make_frames(21))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.npy"] and sink.result == sink.path


def test_a_reader_can_follow_while_it_grows(tmp_path: Path, make_frames, publish):
    with (
        publish(NpySink, tmp_path / "a.npy", 2, 64, 96) as sink,
        (tmp_path / ".a.npy.work" / "a.npy").open("rb") as reader,
    ):
        sink.write(make_frames(1))
        stream = read_npy_stream(reader)
        assert np.array_equal(next(stream), make_frames(1)[0])
        sink.write(make_frames(1, 1))
        assert np.array_equal(next(stream), make_frames(2)[1])


def test_the_header_of_an_interrupted_array_counts_its_frames(tmp_path: Path, make_frames, names, publish):
    with pytest.raises(Interrupted), publish(NpySink, tmp_path / "a.npy", 21, 64, 96) as sink:
        sink.write(make_frames(9))
        raise Interrupted(2)
    assert names() == ["a.partial.npy"] and sink.result == tmp_path / "a.partial.npy"
    assert np.array_equal(np.load(tmp_path / "a.partial.npy"), make_frames(9))


def test_success_removes_an_older_partial(tmp_path: Path, make_frames, names, publish):
    (tmp_path / "a.partial.npy").touch()
    with publish(NpySink, tmp_path / "a.npy", 1, 64, 96) as sink:
        sink.write(make_frames(1))
    assert names() == ["a.npy"]


@pytest.mark.parametrize("error", [Interrupted(2, now=True), KeyboardInterrupt()])
def test_a_stop_at_once_keeps_nothing(tmp_path: Path, make_frames, names, error, publish):
    with pytest.raises(type(error)), publish(NpySink, tmp_path / "a.npy", 21, 64, 96) as sink:
        sink.write(make_frames(9))
        raise error
    assert names() == [] and sink.result is None


def test_a_fault_before_the_first_frame_keeps_nothing(tmp_path: Path, names, publish):
    with pytest.raises(JobError), publish(NpySink, tmp_path / "a.npy", 21, 64, 96):
        raise JobError("NaN")
    assert names() == []


def test_a_sink_that_failed_keeps_nothing_of_its_own(tmp_path: Path, make_frames, names, monkeypatch, publish):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OutputError, match="Input/output"), publish(NpySink, tmp_path / "a.npy", 21, 64, 96) as sink:
        sink.write(make_frames(9))
        monkeypatch.setattr(sink, "_write", fail)
        sink.write(make_frames(12, 9))
    assert names() == []


def test_too_few_frames_are_no_success(tmp_path: Path, make_frames, names, publish):
    with pytest.raises(OutputError, match="9 of 21"), publish(NpySink, tmp_path / "a.npy", 21, 64, 96) as sink:
        sink.write(make_frames(9))
    assert names() == []


def test_a_file_cut_behind_our_back_is_noticed(tmp_path: Path, make_frames, names, publish):
    with pytest.raises(OutputError, match="holds"), publish(NpySink, tmp_path / "a.npy", 9, 64, 96) as sink:
        sink.write(make_frames(9))
        os.truncate(tmp_path / ".a.npy.work" / "a.npy", 1000)
    assert names() == []
    (tmp_path / "b.npy").write_bytes(npy_header(1, 64, 96))
    with pytest.raises(OutputError, match="18560"):
        verify_npy(tmp_path / "b.npy", 1, 64, 96)


def test_the_header_has_one_length_for_all_sizes():
    assert {len(npy_header(*shape)) for shape in [(1, 64, 64), (10**9, 2048, 2048)]} == {128}


class Drip(io.RawIOBase):
    """A pipe that gives 1,000 bytes at most."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(min(size, 1000))


def test_a_stream_is_read_frame_by_frame_from_a_pipe(make_frames):
    whole = npy_header(3, 64, 96) + make_frames(3).tobytes()
    assert np.array_equal(np.stack(list(read_npy_stream(Drip(whole)))), make_frames(3))
    with pytest.raises(JobError, match="ended after 2 of 3"):
        list(read_npy_stream(Drip(whole[:-1])))


def test_a_stream_of_something_else_is_refused():
    floats = io.BytesIO()
    np.save(floats, np.zeros((2, 3)))
    floats.seek(0)
    with pytest.raises(JobError, match=r"float64 \[2, 3\]; expected uint8"):
        next(read_npy_stream(floats))
    with pytest.raises(JobError, match="does not begin with an NPY header"):
        next(read_npy_stream(io.BytesIO(b"hello, this is text")))
