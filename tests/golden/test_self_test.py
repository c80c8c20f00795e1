from __future__ import annotations

from scope_batch.golden.folder import DEFAULT_THRESHOLDS, Blessed
from scope_batch.golden.record import record
from scope_batch.golden.self_test import try_faults
from scope_batch.golden.thresholds import Thresholds
from tests.golden.films import Film, moving_film, stream


def golden_of(film: Film) -> Blessed:
    return Blessed("any", {}, {}, record(stream(film, 16), {0, 23}))


def test_the_default_thresholds_notice_every_fault() -> None:
    trials = list(try_faults(golden_of(moving_film()), dict(DEFAULT_THRESHOLDS)))
    assert len(trials) == 11 and all(trial.noticed for trial in trials)


def test_loose_thresholds_are_told() -> None:
    loose = {**DEFAULT_THRESHOLDS, "other_machine": Thresholds(min_psnr=5)}
    missed = [trial for trial in try_faults(golden_of(moving_film()), loose) if not trial.noticed]
    assert {trial.tier for trial in missed} == {"other_machine"}
    assert [trial.fault for trial in missed] == [
        "frames 0 and 17 exchanged",
        "every frame one late",
        "frame 0 one level off",
    ]


def test_a_film_of_one_frame_is_tested_by_one_level() -> None:
    assert [trial.fault for trial in try_faults(golden_of(moving_film(1)), dict(DEFAULT_THRESHOLDS))] == [
        "frame 0 one level off",
        "frame 0 one level off",
    ]
