import errno
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.errors import Interrupted, JobError, OutputError, OutputExistsError
from scope_batch.sinks.npy import NpySink
from scope_batch.sinks.output_set import SinkSettings
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.work_folder import WorkFolder
from scope_batch.sinks.writer import BackgroundWriter


class Stuck(NpySink):
    """Blocks in its first write until it is aborted, like a full pipe."""

    def __init__(self, path: Path, frames: int, publication: Publication) -> None:
        super().__init__(path, frames, 64, 96, publication)
        self.go = threading.Event()

    def _write(self, block: np.ndarray) -> None:  # noqa: ARG002
        self.go.wait(20)
        raise OutputError("let go")

    def abort(self) -> None:
        self.go.set()


def test_several_outputs_in_one_pass_hold_the_same_frames(tmp_path: Path, render, make_frames, decoded, names):
    outputs = [tmp_path / "a.npy", {"path": str(tmp_path / "a.mkv"), "codec": "ffv1"}, tmp_path / "%03d.png"]
    writer = render(*outputs, settings=SinkSettings(preview=tmp_path / "p.png"))
    assert writer.frames_written == 30
    assert np.array_equal(np.load(tmp_path / "a.npy"), make_frames(30))
    assert np.array_equal(decoded(tmp_path / "a.mkv"), make_frames(30))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "029.png")), make_frames(1, 29)[0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "p.png")), make_frames(1, 29)[0])
    assert names() == [*(f"{i:03d}.png" for i in range(30)), "a.mkv", "a.npy", "p.png"]
    sizes = {Path(result.path).name: result.bytes for result in writer.results()}
    assert sizes["a.npy"] == 128 + 30 * 64 * 96 * 3 and len(sizes) == 3 and all(sizes.values())


def test_the_surplus_of_the_last_chunk_is_not_written(tmp_path: Path, render, make_frames):
    render(tmp_path / "a.npy", num_frames=1)
    assert np.array_equal(np.load(tmp_path / "a.npy"), make_frames(1))


def test_after_a_signal_queued_chunks_are_written_and_kept(tmp_path: Path, render, decoded, names):
    def stop(_, chunk):
        if chunk.index == 1:
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        render(tmp_path / "a.npy", tmp_path / "a.mp4", between=stop)
    assert names() == ["a.partial.mp4", "a.partial.npy"]
    assert len(np.load(tmp_path / "a.partial.npy")) == len(decoded(tmp_path / "a.partial.mp4")) == 21


def test_a_second_signal_removes_everything(tmp_path: Path, render, names):
    def stop(*_):
        raise Interrupted(15, now=True)

    with pytest.raises(Interrupted):
        render(tmp_path / "a.npy", tmp_path / "a.mp4", between=stop)
    assert names() == []


def test_an_error_of_the_model_keeps_earlier_chunks(tmp_path: Path, make_plan, fake_chunk, publish):
    plan = make_plan(30)
    bad = JobError("chunk 1: NaN")
    with (
        pytest.raises(JobError, match="NaN"),
        publish(NpySink, tmp_path / "a.npy", 30, 64, 96) as sink,
        BackgroundWriter([sink]) as writer,
    ):
        writer.submit(fake_chunk(plan.chunks[0]), 9)
        writer.submit(fake_chunk(plan.chunks[1], bad), 12)
        writer.submit(fake_chunk(plan.chunks[2]), 9)
    assert writer.frames_written == 9 and len(np.load(tmp_path / "a.partial.npy")) == 9


def test_the_error_of_a_sink_is_raised_at_the_next_chunk_and_other_sinks_go_on(
    tmp_path: Path, make_plan, fake_chunk, names, publish
):
    chunk = make_plan(9).chunks[0]
    submitted = 0
    with (
        pytest.raises(OutputError, match="let go"),
        publish(NpySink, tmp_path / "a.npy", 900, 64, 96) as good,
        publish(Stuck, tmp_path / "b.npy", 900) as bad,
        BackgroundWriter([good, bad]) as writer,
    ):
        bad.go.set()
        for _ in range(100):
            writer.submit(fake_chunk(chunk), 9)
            submitted += 1
            time.sleep(0.01)
    assert submitted < 10 and names() == ["a.partial.npy"]


def test_a_full_queue_waits_and_an_abort_frees_it(tmp_path: Path, make_plan, fake_chunk, names, publish):
    chunk = make_plan(9).chunks[0]
    submitted = []

    def submit_all(writer: BackgroundWriter) -> None:
        with pytest.raises((OutputError, RuntimeError)):
            for index in range(10):
                writer.submit(fake_chunk(chunk), 9)
                submitted.append(index)

    with (
        pytest.raises(Interrupted),
        publish(Stuck, tmp_path / "a.npy", 900) as sink,
        BackgroundWriter([sink]) as writer,
    ):
        thread = threading.Thread(target=submit_all, args=[writer])
        thread.start()
        time.sleep(0.1)
        assert len(submitted) == 3
        raise Interrupted(2, now=True)
    thread.join(5)
    assert not thread.is_alive() and names() == []


def test_no_thread_is_left(tmp_path: Path, render):
    before = threading.active_count()
    render(tmp_path / "a.npy")
    assert threading.active_count() == before


def test_a_first_signal_tells_of_a_dead_output(tmp_path: Path, make_plan, fake_chunk, publish):
    with (
        pytest.raises(OutputError, match="let go"),
        publish(Stuck, tmp_path / "b.npy", 900) as bad,
        BackgroundWriter([bad]) as writer,
    ):
        bad.go.set()
        writer.submit(fake_chunk(make_plan(9).chunks[0]), 9)
        raise Interrupted(2)


def test_a_failing_preview_is_an_error_like_any_other(tmp_path: Path, render, names, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(WorkFolder, "move_out", fail)
    with pytest.raises(OutputError, match=r"p\.png: Input"):
        render(
            tmp_path / "a.npy", settings=SinkSettings(preview=tmp_path / "p.png"), between=lambda *_: time.sleep(0.1)
        )
    assert names() == []


def test_existing_outputs_are_refused_and_stay(tmp_path: Path, render, names):
    (tmp_path / "a.npy").write_bytes(b"old")
    (tmp_path / "00007.png").write_bytes(b"old")
    for output in ("a.npy", "%05d.png"):
        with pytest.raises(OutputExistsError, match="--overwrite"):
            render(tmp_path / "b.npy", tmp_path / output)
    assert names() == ["00007.png", "a.npy"] and (tmp_path / "a.npy").read_bytes() == b"old"
    render(tmp_path / "a.npy", tmp_path / "%05d.png", num_frames=3, settings=SinkSettings(overwrite=True))
    assert names() == ["00000.png", "00001.png", "00002.png", "00007.png", "a.npy"]
