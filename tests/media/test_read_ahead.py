import threading
import time
from collections.abc import Callable

import pytest

from scope_batch.errors import JobError, TimeLimitError
from scope_batch.media import patience
from scope_batch.media.chunk_inputs import InputReader, Inputs
from scope_batch.media.prefetch import ReadAhead
from tests.media.plans import chunk_of, place, plan_of


class Slow:
    """Reads n as 10 n; `broken` cannot be read; reading `stuck` lasts until it is interrupted."""

    def __init__(self, broken: int = -1, stuck: int = -1) -> None:
        self.broken, self.stuck = broken, stuck
        self.asked: list[int] = []
        self.closed = False
        self.interrupted = threading.Event()

    def read(self, asked: int) -> int:
        self.asked.append(asked)
        if asked == self.stuck:
            assert self.interrupted.wait(10)
        if asked == self.broken or self.interrupted.is_set():
            raise JobError(f"slow: {asked}")
        return 10 * asked

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.closed = True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


def test_everything_comes_in_order_and_only_one_is_read_ahead():
    reader = Slow()
    with ReadAhead(reader, range(3)) as ahead:
        assert ahead.get() == 0
        wait_for(lambda: len(reader.asked) == 2)
        time.sleep(0.02)
        assert reader.asked == [0, 1]
        assert [ahead.get(), ahead.get()] == [10, 20]
        with pytest.raises(IndexError):
            ahead.get()
    assert reader.closed


def test_a_read_that_stalls_past_the_time_limit_ends_the_render(monkeypatch):
    def out_of_time() -> None:
        raise TimeLimitError("the time is over")

    monkeypatch.setattr(patience, "STALL_S", 0.2)
    with pytest.raises(TimeLimitError) as raised, ReadAhead(Slow(stuck=0), range(2)) as ahead:
        ahead.get(out_of_time)
    assert raised.value.__notes__ == ["the input stood still for 0.2 s and was given up"]


def test_an_error_is_raised_by_get():
    with ReadAhead(Slow(broken=1), range(2)) as ahead:
        assert ahead.get() == 0
        with pytest.raises(JobError, match="slow: 1"):
            ahead.get()


def test_close_breaks_off_a_read_and_ends_the_thread():
    reader = Slow(stuck=1)
    before = threading.active_count()
    ahead = ReadAhead(reader, range(2))
    ahead.get()
    wait_for(lambda: 1 in reader.asked)
    ahead.close()  # otherwise it would wait for the read for ever
    ahead.close()
    assert reader.closed and threading.active_count() == before


def test_no_requests_start_no_thread():
    before = threading.active_count()
    with ReadAhead(Slow(), ()):
        assert threading.active_count() == before


@pytest.mark.parametrize("kind", ["video", "control", "masks"])
def test_close_in_the_middle_of_a_clip_ends_the_decoder(drawn_clip, monkeypatch, kind):
    from scope_batch.media import video

    children = []
    make = video.Child
    monkeypatch.setattr(video, "Child", lambda *a, **k: children.append(make(*a, **k)) or children[-1])
    path = drawn_clip("long.mp4", source="testsrc=s=320x240:r=25:d=2")
    chunk = chunk_of(3, None, mode="video") if kind == "video" else chunk_of(3)
    plan = plan_of(*[chunk] * 9, placements=(place(path, kind),))
    with pytest.raises(KeyboardInterrupt), Inputs(plan) as inputs:
        inputs.get()
        raise KeyboardInterrupt
    assert len(children) == 1 and children[0].poll() is not None


def test_an_interrupt_before_the_file_is_opened_is_not_lost(drawn_clip):
    plan = plan_of(chunk_of(12), placements=(place(drawn_clip("c.mp4")),))
    with InputReader(plan) as reader:
        reader.interrupt()
        with pytest.raises(JobError, match=r"c.mp4: frame 0 of 20"):
            reader.read(plan.chunks[0])
