from __future__ import annotations

from dataclasses import replace

from scope_batch.events import ChunkStarted, Loading, Resumed, Stage
from scope_batch.progress.summary import Batch, State, after


def test_a_render_is_busy_from_its_first_chunk_to_its_end(started, done, finished):
    state = after(State(), Loading("transformer"), 1.0)
    assert state.activity == "loading transformer" and not state.busy
    state = after(state, started, 2.0)
    assert state.busy and state.in_flight
    for chunk in range(3):
        state = after(state, done(chunk), 3.0)
    assert state.busy and not state.in_flight and state.activity == "finishing the outputs"
    assert not after(state, finished, 4.0).busy


def test_the_chunk_in_flight_is_judged_by_the_one_before(started, done):
    state = after(State(), started, 10.0)
    assert state.chunk_left_s(11.0) is None and state.eta_s(11.0) is None
    state = after(after(state, done(0, seconds=4.0), 14.0), ChunkStarted(1, "a dog"), 14.0)
    assert state.chunk == 1 and state.prompt == "a dog"
    assert state.chunk_left_s(15.0) == 3.0 and state.chunk_left_s(99.0) == 0.0
    assert state.eta_s(15.0) == 7.0


def test_later_jobs_are_judged_by_the_whole_of_one_that_was_continued(started, done):
    state = after(after(State(batch=Batch(1, 2, later_work=1.0)), Resumed(1, 9, 0, "work"), 0.0), started, 10.0)
    first = replace(done(1, seconds=4.0), elapsed_s=4.0, eta_s=4.0)  # two of three chunks take 8 s
    assert after(state, first, 14.0).jobs_eta_s(14.0) == 4.0 + 12.0


def test_the_engines_stage_is_shown_not_the_writers(started, done):
    state = after(after(after(State(), started, 0), done(0), 1), Stage(1, "denoising", 3, 4), 2)
    assert after(state, Stage(0, "writing"), 3).activity == "denoising 3 of 4"
    assert after(state, Stage(1, "decoding"), 3).activity == "decoding"
