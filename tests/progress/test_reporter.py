from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from scope_batch.errors import Interrupted, JobError
from scope_batch.events import Event, Finished, Warned
from scope_batch.progress.reporter import Reporter
from scope_batch.progress.summary import State


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.inside = 0
        self.crowded = False
        self.log: list[str] = []

    def __enter__(self) -> Recorder:
        self.log.append("enter")
        return self

    def __exit__(self, *_: Any) -> None:
        self.log.append("exit")

    def show(self, event: Event, _: State) -> None:
        self.inside += 1
        self.crowded |= self.inside > 1
        time.sleep(0)  # let another thread in, if it may
        self.events.append(event)
        self.inside -= 1

    def note(self, line: str) -> None:
        self.log.append(line)


def test_a_warning_is_passed_on_once():
    with Reporter([recorder := Recorder()]) as report:
        for message in ("a", "b", "a"):
            report(Warned(message))
    assert recorder.events == [Warned("a"), Warned("b")]


def test_every_display_is_left_when_something_fails():
    recorders = [Recorder(), Recorder()]
    with pytest.raises(JobError), Reporter(recorders):
        raise JobError("no")
    assert [recorder.log for recorder in recorders] == [["enter", "exit"]] * 2


@pytest.mark.parametrize(("error", "outcome"), [(JobError("no"), "failed"), (Interrupted(2), "interrupted")])
def test_the_terminal_event_is_made_up_when_it_is_missing(error, outcome, started):
    recorder = Recorder()
    with pytest.raises(type(error)), Reporter([recorder]) as report:
        report(started)
        raise error
    last = recorder.events[-1]
    assert isinstance(last, Finished) and (last.outcome, last.num_frames, last.message) == (outcome, 33, str(error))


def test_the_terminal_event_comes_once(finished):
    recorder = Recorder()
    with pytest.raises(JobError), Reporter([recorder]) as report:
        report(finished)
        raise JobError("no")
    assert recorder.events == [finished]


def test_displays_meet_one_thread_at_a_time():
    recorder = Recorder()
    with Reporter([recorder]) as report:
        threads = [
            threading.Thread(target=lambda n=n: [report(Warned(f"{n} {i}")) for i in range(200)]) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(recorder.events) == 800 and not recorder.crowded


def test_a_stop_names_the_chunk_that_it_waits_for(clock, started, done):
    report = Reporter([], clock)
    report(started)
    assert report.finishing(again=True) == "finishing chunk 1; press again to stop now"
    report(done(0, seconds=20.0))
    clock.pass_(8)
    assert report.finishing(again=True) == "finishing chunk 2 (about 12 s); press again to stop now"
    report(done(2))
    assert report.finishing(again=False) == "finishing the outputs"
