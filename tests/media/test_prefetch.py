import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from scope_batch.errors import JobError
from scope_batch.media.prefetch import Prefetch
from scope_batch.media.source import Source
from scope_batch.media.timeline import Timeline, open_timeline
from scope_batch.media.timing import Timing


class Slow(Source):
    """Frame i is filled with i; `broken` cannot be read; reading `stuck` lasts until it is interrupted."""

    def __init__(self, broken: int = -1, stuck: int = -1) -> None:
        self.name, self.width, self.height, self.timing = "slow", 4, 4, Timing.even(100)
        self.broken, self.stuck = broken, stuck
        self.read: list[int] = []
        self.closed = False
        self.interrupted = threading.Event()

    def frame(self, index: int) -> np.ndarray:
        self.read.append(index)
        if index == self.stuck:
            assert self.interrupted.wait(10)
        if index == self.broken or self.interrupted.is_set():
            raise JobError(f"slow: frame {index}")
        return np.full((4, 4, 3), index, np.uint8)

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.closed = True


def prefetch(source: Source, *windows: tuple[int, int]) -> Prefetch:
    timeline = Timeline(source, range(100), frames=100, height=4, width=4, fit="crop", loop=False)
    return Prefetch(timeline, windows)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


def test_windows_come_in_order_and_only_one_is_read_ahead():
    source = Slow()
    with prefetch(source, (0, 2), (2, 2), (4, 2)) as reader:
        assert reader.get()[:, 0, 0, 0].tolist() == [0, 1]
        wait_for(lambda: len(source.read) == 4)
        time.sleep(0.02)
        assert source.read == [0, 1, 2, 3]
        assert [reader.get()[0, 0, 0, 0], reader.get()[0, 0, 0, 0]] == [2, 4]
        with pytest.raises(IndexError):
            reader.get()
    assert source.closed


def test_an_error_surfaces_where_its_window_is_asked_for():
    with prefetch(Slow(broken=3), (0, 2), (2, 2)) as reader:
        assert len(reader.get()) == 2
        with pytest.raises(JobError, match="frame 3"):
            reader.get()


def test_close_breaks_off_a_read_and_ends_the_thread():
    source = Slow(stuck=2)
    before = threading.active_count()
    reader = prefetch(source, (0, 2), (2, 2))
    reader.get()
    wait_for(lambda: 2 in source.read)
    began = time.monotonic()
    reader.close()
    reader.close()
    assert time.monotonic() - began < 5 and source.closed and threading.active_count() == before


def test_close_in_the_middle_of_a_clip_ends_the_decoder(drawn_clip, monkeypatch):
    from scope_batch.media import video

    children = []
    make = video.Child
    monkeypatch.setattr(video, "Child", lambda *a, **k: children.append(make(*a, **k)) or children[-1])
    path = drawn_clip("long.mp4", source="testsrc=s=320x240:r=25:d=2")
    timeline = open_timeline(path, num_frames=50, height=240, width=320, fit="crop", input_length="loop")
    with pytest.raises(KeyboardInterrupt), Prefetch(timeline, [(0, 3), (3, 3), (6, 3)]) as reader:
        assert reader.get().shape == (3, 240, 320, 3)
        raise KeyboardInterrupt
    assert len(children) == 1 and children[0].poll() is not None


def test_an_interrupt_before_the_decoder_starts_is_not_lost(drawn_clip):
    path = drawn_clip("c.mp4")
    timeline = open_timeline(path, num_frames=20, height=48, width=64, fit="crop", input_length="loop")
    with timeline:
        timeline.interrupt()
        with pytest.raises(JobError, match=r"c.mp4: frame 0 of 20"):
            timeline.window(0, 20)
