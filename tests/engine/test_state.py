"""Checks that a session restored from its state continues bit for bit as the uninterrupted one."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
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
Generated = tuple[Frames, "np.ndarray[Any, Any]"]
Rendered = tuple[list[Generated], list[dict[str, Any]]]


@cache
def engine_of(pipeline: str) -> CausalEngine:
    """Build an engine with Wan's VAE for two of the pipelines, and with a tiny, faster one for the others."""
    return small_engine(PIPELINES[pipeline], tiny_vae=pipeline not in ("longlive", "krea-realtime-video"))


def job(pipeline: str, mode: str, **fields: Any) -> Plan:
    """Plan 8 chunks: prompt change, transition, cut and LoRA ramp; in video mode also VACE, but not in chunk 4."""
    build = plan if mode == "text" else video_plan
    planned = build(*ENTRIES, spec=PIPELINES[pipeline], **{"num_frames": 96, "denoising_steps": [1000, 500], **fields})
    chunks = []
    for chunk in planned.chunks[:CHUNKS]:
        steered = mode == "video" and chunk.index != 4
        vace = Vace(0.8, timeline=True, restart_streams=chunk.cut or chunk.index in (0, 5)) if steered else None
        scale = 0.1 * min(chunk.index, 5)
        chunks.append(replace(chunk, vace=vace, lora_scales=(scale,), lora_changed=0 < chunk.index <= 5))
    return sized(planned, chunks)


def sized(planned: Plan, chunks: Sequence[Chunk]) -> Plan:
    """Return the plan with these chunks alone, at the size of the small engine."""
    frames = sum(chunk.keep for chunk in chunks)
    return replace(planned, height=SIZE, width=SIZE, chunks=tuple(chunks), num_frames=frames)


def generate(session: CausalSession, planned: Plan, index: int) -> Generated:
    generated = session.generate(planned.chunks[index], inputs_of(planned.chunks[index]))
    return generated.frames().copy(), generated.latents().copy()


def render(engine: CausalEngine, planned: Plan) -> Rendered:
    """Return every chunk's frames and latents, and the state at every border: before each chunk and after the last."""
    chunks, states = [], []
    with engine.session(planned, silent) as session:
        for chunk in planned.chunks:
            states.append(session.state())
            chunks.append(generate(session, planned, chunk.index))
        states.append(session.state())
    return chunks, states


@cache
def rendered(pipeline: str, mode: str) -> Rendered:
    """Render the job without interruption."""
    return render(engine_of(pipeline), job(pipeline, mode))


def equal(one: Any, other: Any) -> bool:
    """Compare bit for bit, also inside dictionaries and lists."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return type(one) is type(other) and one == other


def check_borders(engine: CausalEngine, planned: Plan, uninterrupted: Rendered, borders: Iterable[int]) -> None:
    """Check from each border that the next chunk and the state after it are equal; so all later chunks are too."""
    chunks, states = uninterrupted
    with engine.session(planned, silent) as session:
        for border in borders:
            session.restore(states[border])
            assert equal(session.state(), states[border])
            assert equal(generate(session, planned, states[border]["next_chunk"]), chunks[border])
            assert equal(session.state(), states[border + 1])


@pytest.mark.parametrize(("pipeline", "mode"), JOBS)
def test_a_new_session_continues_from_any_border_after_another_job(pipeline: str, mode: str) -> None:
    engine, planned, other = engine_of(pipeline), job(pipeline, mode), job(pipeline, "text", seed=7, prompt="B")
    assert any(isinstance(chunk.conditioning, Transition) for chunk in planned.chunks) and len(planned.chunks) == CHUNKS
    uninterrupted = rendered(pipeline, mode)
    render(engine, sized(other, other.chunks[:2]))
    check_borders(engine, planned, uninterrupted, reversed(range(CHUNKS)))


@pytest.mark.parametrize("mode", ["text", "video"])
def test_the_same_session_can_go_back_and_continue_to_the_end(mode: str) -> None:
    engine, planned = engine_of("longlive"), job("longlive", mode)
    chunks, states = rendered("longlive", mode)
    with engine.session(planned, silent) as session:
        for index in range(5):
            generate(session, planned, index)
        session.restore(states[4])  # within the transition and the ramp
        assert equal([generate(session, planned, index) for index in range(4, CHUNKS)], chunks[4:])


@pytest.mark.parametrize(("pipeline", "mode"), JOBS)
def test_a_new_session_may_start_at_a_cut(pipeline: str, mode: str) -> None:
    planned = job(pipeline, mode)
    cut = next(chunk.index for chunk in planned.chunks[1:] if chunk.cut)
    chunks, _ = rendered(pipeline, mode)
    with engine_of(pipeline).session(planned, silent) as session:
        assert equal([generate(session, planned, index) for index in range(cut, CHUNKS)], chunks[cut:])


def test_the_last_input_frame_is_remembered_without_a_noise_controller_too() -> None:
    planned = job("longlive", "video", noise_controller=False)
    assert not any(chunk.noise_controller for chunk in planned.chunks)
    with engine_of("longlive").session(planned, silent) as session:
        generate(session, planned, 0)
        remembered = session.state()["controller.last"]
    pixels = inputs_of(planned.chunks[0]).pixels
    assert pixels is not None
    assert np.array_equal(remembered.numpy(), pixels[planned.chunks[0].keep - 1].astype(np.float32))


def test_a_snapshot_in_a_file_is_the_state(tmp_path: Path) -> None:
    planned = job("longlive", "video")
    chunks, states = rendered("longlive", "video")
    with engine_of("longlive").session(planned, silent) as session:
        session.restore(states[3])
        snapshot = session.snapshot()
        generate(session, planned, 3)
        with (tmp_path / "3.state").open("wb") as file:
            snapshot.write(file)
        session.restore_file(tmp_path / "3.state")
        assert equal(session.state(), states[3])
        assert equal(generate(session, planned, 3), chunks[3])


def test_a_full_memory_bank_is_restored() -> None:
    engine, spec = engine_of("memflow"), PIPELINES["memflow"]
    planned = plan(spec=spec, num_frames=12 * 13 - 3, denoising_steps=[1000], memory_bank=True)
    planned = sized(planned, [replace(chunk, lora_scales=(0.0,)) for chunk in planned.chunks])
    uninterrupted = render(engine, planned)
    before = uninterrupted[1][10]
    assert (before["cache.policy.banked"], before["cache.policy.recorded"]) == (3, 1)
    check_borders(engine, planned, uninterrupted, (12, 10, 9, 3))


def values(value: Any) -> Iterator[Any]:
    for part in value if isinstance(value, list) else [value]:
        yield from values(part) if isinstance(part, list) else [part]


@pytest.mark.parametrize("pipeline", PIPELINE_IDS)
def test_a_state_holds_only_contiguous_host_tensors_numbers_and_strings(pipeline: str) -> None:
    _, states = rendered(pipeline, "video")
    for value in (part for state in states for entry in state.values() for part in values(entry)):
        assert type(value) in (Tensor, int, float, str, type(None))
        assert not isinstance(value, Tensor) or (value.is_contiguous() and value.device.type == "cpu")


def test_a_state_is_a_copy_and_a_restore_copies_it() -> None:
    engine, planned = engine_of("longlive"), job("longlive", "video")
    _, states = rendered("longlive", "video")
    with engine.session(planned, silent) as session:
        session.restore(states[2])
        saved = session.state()
        generate(session, planned, 2)
        assert equal(saved, states[2]) and not equal(session.state(), saved)


def test_a_restore_sets_the_scales_of_the_engines_loras() -> None:
    engine, planned = engine_of("longlive"), job("longlive", "text")
    _, states = rendered("longlive", "text")
    with engine.session(planned, silent) as session:
        session.restore(states[3])
        assert engine.loras.state() == {"scales": [pytest.approx(0.2)]}


def test_text_keys_prompt_and_tables_are_allocated_once() -> None:
    """A captured CUDA graph may read them: later prompts and a restore overwrite them in place."""
    engine, planned = engine_of("longlive"), job("longlive", "text")
    with engine.session(planned, silent) as session:
        pointers = []
        for chunk in planned.chunks[:5]:
            generate(session, planned, chunk.index)
            state = session._state
            entries = [tensor for entry in state.text._entries if entry for tensor in entry]
            with state.cache.forward_pass(state.cache.policy.start_chunk(chunk)[1]) as rotary:
                pointers.append([tensor.data_ptr() for tensor in (*entries, state.prompt, *rotary)])
            session.restore(session.state())
    assert len(pointers[0]) == 2 * 2 + 3 and all(row == pointers[0] for row in pointers)


BROKEN = {
    r"holds \['cache.keys2'\], which": {"cache.keys2": 0},
    r"holds \['other'\], which": {"other": 0},
    "needs torch.float32": {"prompt": torch.zeros(1, 512, 9)},
    "scales of 2 LoRAs, this session of 1": {"loras.scales": [0.0, 1.0]},
}


@pytest.mark.parametrize("message", BROKEN)
def test_another_sessions_state_is_refused(message: str) -> None:
    engine, planned = engine_of("longlive"), job("longlive", "text")
    with engine.session(planned, silent) as session, pytest.raises(ValueError, match=message):
        session.restore({**session.state(), **BROKEN[message]})


def test_a_job_without_vace_restores_on_engines_with_and_without_vace() -> None:
    spec, planned = PIPELINES["streamdiffusionv2"], job("streamdiffusionv2", "text")
    uninterrupted = rendered("streamdiffusionv2", "text")
    engine = small_engine(spec, tiny_vae=True, vace=False)
    check_borders(engine, planned, uninterrupted, (5, 2))
    steered = rendered("streamdiffusionv2", "video")[1][3]
    with engine.session(planned, silent) as session, pytest.raises(ValueError, match="but this session has no VACE"):
        session.restore(steered)


@pytest.mark.parametrize("name", ["prompt", "next_chunk", "cache.keys", "decoder.recent", "vace.inactive.position"])
def test_an_incomplete_state_is_refused(name: str) -> None:
    engine, planned = engine_of("longlive"), job("longlive", "text")
    with engine.session(planned, silent) as session:
        state = session.state()
        del state[name]
        with pytest.raises(ValueError, match=rf"lacks \['{name}'\]"):
            session.restore(state)


def test_a_closed_session_lets_go_of_its_caches() -> None:
    engine, planned = engine_of("longlive"), job("longlive", "text")
    gc.disable()
    try:
        with engine.session(planned, silent) as session:
            generate(session, planned, 0)
            caches = weakref.ref(session._state.cache)
        assert caches() is None
    finally:
        gc.enable()
