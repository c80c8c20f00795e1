from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from scope_batch.cli.signals import Signals
from scope_batch.errors import Interrupted, TimeLimitError

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_stay() -> Iterator[None]:
    before = [signal.getsignal(number) for number in HANDLED]
    yield
    assert [signal.getsignal(number) for number in HANDLED] == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_waits_for_the_next_check(number: signal.Signals, code: int) -> None:
    with Signals() as signals:
        signals.check()
        signal.raise_signal(number)
        with pytest.raises(Interrupted) as caught:
            signals.check()
    assert caught.value.exit_code == code and not caught.value.now


def test_the_second_signal_ends_it_at_once() -> None:
    with Signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGTERM)
    assert caught.value.now and caught.value.exit_code == 143


def test_a_third_signal_does_not_interrupt_a_recent_clean_up() -> None:
    now = [0.0]
    with Signals(clock=lambda: now[0]):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        now[0] = 10.0
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)


def test_a_second_hangup_does_not_stop_at_once() -> None:
    with Signals() as signals:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(Interrupted):
            signals.check()


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGHUP)
            signals.check()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_chunk_in_flight_the_first_signal_ends_it() -> None:
    with Signals(busy=lambda: False), pytest.raises(Interrupted) as caught:
        signal.raise_signal(signal.SIGINT)
    assert caught.value.now


def test_the_first_signal_is_announced_once_and_not_by_the_handler() -> None:
    heard: list[tuple[int | None, bool]] = []

    def announce(number: int | None) -> None:
        heard.append((number, threading.current_thread() is threading.main_thread()))

    with Signals(announce=announce):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    assert heard == [(signal.SIGTERM, False)]


def test_the_time_limit_is_announced_and_raised_by_the_next_check() -> None:
    heard = threading.Event()
    with Signals(0.05, lambda number: heard.set() if number is None else None) as signals:
        signals.check()
        assert heard.wait(5)
        with pytest.raises(TimeLimitError, match=r"0\.05 s"):
            signals.check()


def test_in_another_thread_only_the_time_limit_counts() -> None:
    seen: list[object] = []

    def work() -> None:
        with Signals() as signals:
            seen.append(signal.getsignal(signal.SIGINT))
            signals.check()
            seen.append("checked")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT), "checked"]
