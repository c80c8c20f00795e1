"""Checks that a session restored from its state continues bit for bit as the uninterrupted one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scope_batch.core.conditioning import Transition
from scope_batch.core.frames import Frames
from scope_batch.core.plan import Chunk, Plan, Vace
from scope_batch.engine.loader import CausalEngine
from scope_batch.engine.session import CausalSession
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from tests.engine.small import SIZE, inputs_of, small_engine
from tests.plan.helpers import plan, video_plan

PIPELINE_IDS = [spec.id for spec in PIPELINES.values() if spec.needs_models]
JOBS = [(pipeline, mode) for pipeline in PIPELINE_IDS for mode in ("text", "video")]
CHUNKS = 8
ENTRIES = (
    {"chunk": 1, "text": "a red dog"},
    {"chunk": 3, "text": "a blue bird", "transition_num_steps": 3},
    {"chunk": 6, "reset_cache": True},
)
Made = tuple[Frames, "np.ndarray[Any, Any]"]
Rendered = tuple[list[Made], list[dict[str, Any]]]


@cache
def engine_of(pipeline: str) -> CausalEngine:
    """With Wan's auto-encoder for two of the pipelines, with a tiny one, which is faster, for the others."""
    return small_engine(PIPELINES[pipeline], tiny_vae=pipeline not in ("longlive", "krea-realtime-video"))


def job(pipeline: str, mode: str, **fields: Any) -> Plan:
    """Eight chunks with a prompt change, a transition, a cut and a LoRA ramp; in video mode VACE, paused in chunk 4."""
    make = plan if mode == "text" else video_plan
    made = make(*ENTRIES, spec=PIPELINES[pipeline], **{"num_frames": 96, "denoising_steps": [1000, 500], **fields})
    chunks = []
    for chunk in made.chunks[:CHUNKS]:
        steered = mode == "video" and chunk.index != 4
        vace = Vace(0.8, timeline=True, restart_streams=chunk.cut or chunk.index in (0, 5)) if steered else None
        scale = 0.1 * min(chunk.index, 5)
        chunks.append(replace(chunk, vace=vace, lora_scales=(scale,), lora_changed=0 < chunk.index <= 5))
    return sized(made, chunks)


def sized(wanted: Plan, chunks: Sequence[Chunk]) -> Plan:
    frames = sum(chunk.keep for chunk in chunks)
    return replace(wanted, height=SIZE, width=SIZE, chunks=tuple(chunks), num_frames=frames)


def generate(session: CausalSession, wanted: Plan, index: int) -> Made:
    made = session.generate(wanted.chunks[index], inputs_of(wanted.chunks[index]))
    return made.frames().copy(), made.latents().copy()


def render(engine: CausalEngine, wanted: Plan) -> Rendered:
    """What each chunk becomes, and the state at every border: before each chunk and after the last."""
    made, states = [], []
    with engine.session(wanted, silent) as session:
        for chunk in wanted.chunks:
            states.append(session.state())
            made.append(generate(session, wanted, chunk.index))
        states.append(session.state())
    return made, states


@cache
def rendered(pipeline: str, mode: str) -> Rendered:
    """The job, uninterrupted."""
    return render(engine_of(pipeline), job(pipeline, mode))


def equal(one: Any, other: Any) -> bool:
    """Bit for bit, also in dictionaries and lists."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return type(one) is type(other) and one == other


def check_borders(engine: CausalEngine, wanted: Plan, uninterrupted: Rendered, borders: Iterable[int]) -> None:
    """From each border the next chunk and the state after it are equal; by induction all chunks to the end are."""
    made, states = uninterrupted
    with engine.session(wanted, silent) as session:
        for border in borders:
            session.restore(states[border])
            assert equal(session.state(), states[border])
            assert equal(generate(session, wanted, states[border]["next_chunk"]), made[border])
            assert equal(session.state(), states[border + 1])


@pytest.mark.parametrize(("pipeline", "mode"), JOBS)
def test_a_fresh_session_goes_on_from_any_border_after_another_job(pipeline: str, mode: str) -> None:
    engine, wanted, other = engine_of(pipeline), job(pipeline, mode), job(pipeline, "text", seed=7, prompt="B")
    assert any(isinstance(chunk.conditioning, Transition) for chunk in wanted.chunks) and len(wanted.chunks) == CHUNKS
    uninterrupted = rendered(pipeline, mode)
    render(engine, sized(other, other.chunks[:2]))
    check_borders(engine, wanted, uninterrupted, reversed(range(CHUNKS)))


@pytest.mark.parametrize("mode", ["text", "video"])
def test_the_same_session_goes_back_and_on_to_the_end(mode: str) -> None:
    engine, wanted = engine_of("longlive"), job("longlive", mode)
    made, states = rendered("longlive", mode)
    with engine.session(wanted, silent) as session:
        for index in range(5):
            generate(session, wanted, index)
        session.restore(states[4])  # within the transition and the ramp
        assert equal([generate(session, wanted, index) for index in range(4, CHUNKS)], made[4:])


def test_a_full_memory_bank_is_restored() -> None:
    engine, spec = engine_of("memflow"), PIPELINES["memflow"]
    wanted = plan(spec=spec, num_frames=12 * 13 - 3, denoising_steps=[1000], memory_bank=True)
    wanted = sized(wanted, [replace(chunk, lora_scales=(0.0,)) for chunk in wanted.chunks])
    uninterrupted = render(engine, wanted)
    before = uninterrupted[1][10]
    assert (before["cache.policy.banked"], before["cache.policy.recorded"]) == (3, 1)
    check_borders(engine, wanted, uninterrupted, (12, 10, 9, 3))


def values(value: Any) -> Iterator[Any]:
    for part in value if isinstance(value, list) else [value]:
        yield from values(part) if isinstance(part, list) else [part]


@pytest.mark.parametrize("pipeline", PIPELINE_IDS)
def test_a_state_holds_contiguous_host_tensors_numbers_and_strings_alone(pipeline: str) -> None:
    _, states = rendered(pipeline, "video")
    for value in (part for state in states for entry in state.values() for part in values(entry)):
        assert type(value) in (Tensor, int, float, str, type(None))
        assert not isinstance(value, Tensor) or (value.is_contiguous() and value.device.type == "cpu")


def test_a_state_is_a_copy_and_a_restore_copies_it() -> None:
    engine, wanted = engine_of("longlive"), job("longlive", "video")
    _, states = rendered("longlive", "video")
    with engine.session(wanted, silent) as session:
        session.restore(states[2])
        saved = session.state()
        generate(session, wanted, 2)
        assert equal(saved, states[2]) and not equal(session.state(), saved)


def test_a_restore_sets_the_scales_of_the_engines_loras() -> None:
    engine, wanted = engine_of("longlive"), job("longlive", "text")
    _, states = rendered("longlive", "text")
    with engine.session(wanted, silent) as session:
        session.restore(states[3])
        assert engine.loras.state() == {"scales": [pytest.approx(0.2)]}


def test_text_keys_prompt_and_tables_are_allocated_once() -> None:
    """So that a captured graph may read them: later prompts and a restore overwrite them in place."""
    engine, wanted = engine_of("longlive"), job("longlive", "text")
    with engine.session(wanted, silent) as session:
        seen = []
        for chunk in wanted.chunks[:5]:
            generate(session, wanted, chunk.index)
            parts = session._parts
            entries = [tensor for entry in parts.text._entries if entry for tensor in entry]
            with parts.cache.forward_pass(parts.cache.policy.start_chunk(chunk)[1]) as rotary:
                seen.append([tensor.data_ptr() for tensor in (*entries, parts.prompt, *rotary)])
            session.restore(session.state())
    assert len(seen[0]) == 2 * 2 + 3 and all(pointers == seen[0] for pointers in seen)


BROKEN = {
    r"holds \['cache.keys2'\], which": {"cache.keys2": 0},
    r"holds \['other'\], which": {"other": 0},
    "wanted torch.float32": {"prompt": torch.zeros(1, 512, 9)},
    "scales of 2 LoRAs, this session of 1": {"loras.scales": [0.0, 1.0]},
}


@pytest.mark.parametrize("message", BROKEN)
def test_another_sessions_state_is_refused(message: str) -> None:
    engine, wanted = engine_of("longlive"), job("longlive", "text")
    with engine.session(wanted, silent) as session, pytest.raises(ValueError, match=message):
        session.restore({**session.state(), **BROKEN[message]})


def test_whether_an_engine_has_vace_does_not_matter_to_a_job_without() -> None:
    spec, wanted = PIPELINES["streamdiffusionv2"], job("streamdiffusionv2", "text")
    made, states = rendered("streamdiffusionv2", "text")
    engine = small_engine(spec, tiny_vae=True, vace=False)
    check_borders(engine, wanted, (made, states), (5, 2))
    steered = rendered("streamdiffusionv2", "video")[1][3]
    with engine.session(wanted, silent) as session, pytest.raises(ValueError, match="this session has no VACE"):
        session.restore(steered)


@pytest.mark.parametrize("name", ["prompt", "next_chunk", "cache.keys", "decoder.recent", "vace.inactive.position"])
def test_an_incomplete_state_is_refused(name: str) -> None:
    engine, wanted = engine_of("longlive"), job("longlive", "text")
    with engine.session(wanted, silent) as session:
        state = session.state()
        del state[name]
        with pytest.raises(ValueError, match=rf"lacks \['{name}'\]"):
            session.restore(state)
