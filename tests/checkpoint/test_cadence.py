"""States are saved as often as their cost allows."""

from __future__ import annotations

import pytest

from scope_batch.checkpoint.cadence import SHORTEST_PAUSE_S, Cadence


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_every_third_chunk(clock: Clock) -> None:
    cadence = Cadence(3, clock=clock)
    saved = []
    for chunk in range(1, 10):
        if cadence.is_due(chunk):
            cadence.saved(chunk)
            saved.append(chunk)
    assert saved == [3, 6, 9]


def test_a_kept_chunk_is_always_due(clock: Clock) -> None:
    assert [chunk for chunk in range(1, 9) if Cadence(keep=[2, 7], clock=clock).is_due(chunk)] == [2, 7]


def test_the_first_state_waits_for_the_shortest_pause(clock: Clock) -> None:
    cadence = Cadence(clock=clock)
    assert not cadence.is_due(1)
    clock.now_s = SHORTEST_PAUSE_S
    assert cadence.is_due(2)


@pytest.mark.parametrize(("blocked_s", "writing_s", "pause_s"), [(0.1, 2.0, 120.0), (10.0, 2.0, 500.0), (0.1, 60, 600)])
def test_a_dear_state_makes_the_pause_longer(clock: Clock, blocked_s: float, writing_s: float, pause_s: float) -> None:
    cadence = Cadence(clock=clock)
    cadence.cost(blocked_s, writing_s)
    clock.now_s = pause_s - 1
    assert not cadence.is_due(5)
    clock.now_s = pause_s
    assert cadence.is_due(5)


def test_the_first_state_waits_until_its_size_is_worth_it(clock: Clock) -> None:
    cadence = Cadence(state_bytes=25_000_000_000, clock=clock)
    clock.now_s = 249
    assert not cadence.is_due(1)
    clock.now_s = 251
    assert cadence.is_due(2)


def test_a_render_that_continues_saves_nothing_at_its_start(clock: Clock) -> None:
    cadence = Cadence(4, clock=clock)
    cadence.begin(6)
    assert [chunk for chunk in range(7, 12) if cadence.is_due(chunk)] == [10, 11]
