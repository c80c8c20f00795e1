from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from scope_batch.errors import UnavailableError
from scope_batch.processors import ProcessorSpec
from scope_batch.processors.chain import NO_PROCESSORS, Chain, Stage
from scope_batch.processors.contract_check import check_processor, moving_frames
from tests.processors import kinds
from tests.processors.kinds import AHEAD, DOUBLE, FAILING, FAR, GOOD, HALF, TENFOLD, TRAIL, per_frame, spec_of

BROKEN = {
    "blocks of .* change the output": per_frame("levelled", kinds.levelled),
    "read-only": per_frame("in place", kinds.in_place),
    "were changed later": spec_of("one buffer", kinds.OneBuffer()),
    r"returned uint8 \(600, 48, 64, 3\) after 60 frames, declared uint8 \(60, 48, 64, 3\)": TENFOLD,
    "returned float64": per_frame("floats", lambda frames: frames / 2),
    "returned list": per_frame("list", list),
    "forgetful: a restored stream": spec_of("forgetful", kinds.Forgetful()),
    "one stream: ": spec_of("one stream", kinds.OneStream()),
}


def chain_of(*specs: ProcessorSpec) -> Chain:
    return Chain(tuple(Stage(spec.id, {}, spec.build({})) for spec in specs))


def run(chain: Chain, *blocks: np.ndarray) -> list[np.ndarray]:
    stream = chain.open(*blocks[0].shape[1:3])
    return [*map(stream.process, blocks), stream.flush()]


@pytest.mark.parametrize("spec", GOOD, ids=lambda spec: spec.id)
def test_processors_that_fulfil_the_contract_pass(spec: ProcessorSpec) -> None:
    check_processor(spec)


@pytest.mark.parametrize("fault", BROKEN)
def test_every_fault_is_reported(fault: str) -> None:
    with pytest.raises((AssertionError, UnavailableError, ValueError), match=fault):
        check_processor(BROKEN[fault])


def test_a_chain_declares_what_it_makes() -> None:
    chain = chain_of(DOUBLE, AHEAD, HALF, TRAIL, FAR)
    assert (chain.fps_factor, chain.size_out(48, 64)) == (Fraction(1), (24, 32))
    frames = moving_frames()
    blocks = frames[:9], frames[9:9], frames[9:21], frames[21:]
    output = run(chain, *blocks)
    ready = [chain.frames_ready(count) for count in (9, 9, 21, 60)]
    assert [len(block) for block in output] == [ready[0], 0, ready[2] - ready[1], ready[3] - ready[2], 60 - ready[3]]
    assert np.array_equal(np.concatenate(output), np.concatenate(run(chain, frames)))


def test_stages_are_flushed_through_those_behind_them() -> None:
    frames = moving_frames(3)
    doubled, twice = run(chain_of(DOUBLE), frames), run(chain_of(DOUBLE, DOUBLE), frames)
    assert [len(block) for block in twice] == [6, 6]
    assert np.array_equal(np.concatenate(twice)[::2], np.concatenate(doubled))


def test_an_empty_chain_is_false_and_changes_nothing() -> None:
    assert not NO_PROCESSORS and NO_PROCESSORS.frames_out(7) == 7 and NO_PROCESSORS.size_out(2, 3) == (2, 3)


def test_no_frames_need_no_flush() -> None:
    assert run(chain_of(DOUBLE), moving_frames(0))[-1].shape == (0, 48, 64, 3)


def test_a_fault_of_a_plugin_is_one_line_with_its_name_and_a_fault_of_ours_a_bug() -> None:
    ours = Stage("failing", {}, FAILING.build({}))
    theirs = Stage("failing", {}, FAILING.build({}), "the processor 'failing' of x 1.0")
    with pytest.raises(RuntimeError):
        run(Chain((ours,)), moving_frames(1))
    with pytest.raises(UnavailableError, match=r"^the processor 'failing' of x 1\.0: RuntimeError: no more frames$"):
        run(Chain((theirs,)), moving_frames(1))


def test_no_frames_give_no_frames_whatever_a_processor_declares() -> None:
    class Between(kinds.Doubling):
        def frames_out(self, frames: int) -> int:
            return 2 * frames - 1

        def frames_ready(self, frames: int) -> int:
            return 2 * frames - 2

    chain = chain_of(spec_of("between", Between()), DOUBLE)
    assert (chain.frames_out(0), chain.frames_ready(0)) == (0, 0)
    assert (chain.frames_out(3), chain.frames_ready(3)) == (10, 6)


def test_a_restored_chain_continues_after_any_block() -> None:
    chain, frames = chain_of(DOUBLE, AHEAD, TRAIL, FAR), moving_frames(48)
    stream, blocks, states = chain.open(48, 64), [frames[first : first + 6] for first in range(0, 48, 6)], []
    output = []
    for block in blocks:
        states.append(stream.state())
        output.append(stream.process(block))
    last, resumed = stream.flush(), chain.open(48, 64)
    for border in reversed(range(len(blocks))):
        resumed.restore(states[border])
        for block, want in zip(blocks[border:], output[border:], strict=True):
            assert np.array_equal(resumed.process(block), want)
        assert np.array_equal(resumed.flush(), last)


def test_later_frames_do_not_change_a_saved_state() -> None:
    stream, frames = chain_of(TRAIL).open(48, 64), moving_frames(3)
    stream.process(frames[:1])
    state = stream.state()
    stream.process(frames[1:])
    assert np.array_equal(state["0.stream.last"], frames[:1])


def test_a_stream_that_cannot_be_saved_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"^the processor 'half': its stream has no state\(\) and restore\(\)"):
        chain_of(TRAIL, HALF).open(48, 64).state()
