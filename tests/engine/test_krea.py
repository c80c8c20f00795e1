"""Checks each property of Krea Realtime's context on the tiny models; no reference outputs are published."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.core.engine import EngineRequest, LoraRequest
from scope_batch.core.frames import NO_INPUTS, ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk, Plan, Vace
from scope_batch.engine import transformer
from scope_batch.engine.forward_span import ForwardSpan
from scope_batch.engine.kv_cache import KVCache
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.engine.session import CausalSession
from scope_batch.events import Event, Stage, silent
from scope_batch.models.sizes import model_sizes
from scope_batch.pipelines.builtin import KREA
from scope_batch.plan.forecast.estimate import Precision, device_memory
from tests.engine.test_memory_forecast import held, within
from tests.models.lora_files import pair, write
from tests.plan.helpers import plan, video_plan

SIZE = 32
TOKENS = 4
"""Of a latent frame."""
STEPS = [1000, 500]
REQUEST = EngineRequest(KREA, models="tiny", device="cpu")
Latents = NDArray[np.float32]


@pytest.fixture(scope="module")
def engine() -> CausalEngine:
    return load(REQUEST, silent)


def text_plan(*entries: dict[str, Any], chunks: int = 4, **fields: Any) -> Plan:
    """Plan a job of `chunks` chunks of 3 latent frames."""
    job = {"num_frames": 12 * chunks - 3, "denoising_steps": STEPS, **fields}
    return replace(plan(*entries, spec=KREA, **job), height=SIZE, width=SIZE)


def pixels(chunk: Chunk) -> ChunkInputs:
    if chunk.mode == "text":
        return NO_INPUTS
    return ChunkInputs(np.full((chunk.frames, SIZE, SIZE, 3), 40 * chunk.index + 20, np.uint8))


def latents_of(engine: CausalEngine, wanted: Plan) -> list[Latents]:
    """Return the latents of each chunk."""
    with engine.session(wanted, silent) as session:
        return [session.generate(chunk, pixels(chunk)).latents().copy() for chunk in wanted.chunks]


def alike(some: list[Latents], others: list[Latents]) -> list[bool]:
    return [np.array_equal(one, other) for one, other in zip(some, others, strict=True)]


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Tensor, list[Tensor]]]]:
    """Return the context's latents, and its cached values in every layer, for every chunk but the first."""
    seen: list[tuple[Tensor, list[Tensor]]] = []
    given: list[Tensor] = []
    start_chunk, forward = KVCache.start_chunk, CausalSession._forward

    def watched_forward(self: CausalSession, span: Any, latents: Tensor, timestep: int, *args: Any, **more: Any) -> Any:
        if timestep == 0:
            given.append(latents.clone())
        return forward(self, span, latents, timestep, *args, **more)

    def watched_start(self: KVCache, chunk: Chunk) -> Any:
        if chunk.start_latent:
            seen.append((given.pop(), [values[:, : 3 * TOKENS].clone() for values in self.values]))
        return start_chunk(self, chunk)

    monkeypatch.setattr(CausalSession, "_forward", watched_forward)
    monkeypatch.setattr(KVCache, "start_chunk", watched_start)
    yield seen
    assert not given, "a pass at timestep 0 that was no context"


def fresh_values(engine: CausalEngine, context: Tensor, text: str) -> list[Tensor]:
    """Return every layer's values in diffusers' own forward over the context alone: positions 0, 1, 2, no mask."""
    made: list[Tensor] = []
    hooks = [
        block.attn1.to_v.register_forward_hook(lambda _m, _i, out: made.append(out))
        for block in engine.transformer.blocks
    ]
    with torch.no_grad():
        frames, prompt = context.transpose(1, 2), engine.prompts(text)[None]
        WanTransformer3DModel.forward(engine.transformer, frames, torch.tensor([0]), prompt)
    for hook in hooks:
        hook.remove()
    return made


def test_the_context_is_recomputed_under_the_current_prompt_before_each_chunk(
    engine: CausalEngine, contexts: list[tuple[Tensor, list[Tensor]]]
) -> None:
    latents_of(engine, text_plan({"chunk": 2, "text": "a red dog"}, prompt="a cat"))
    assert len(contexts) == 3
    for (context, values), text in zip(contexts, ("a cat", "a red dog", "a red dog"), strict=True):
        for layer, fresh in zip(values, fresh_values(engine, context, text), strict=True):
            assert torch.allclose(layer.flatten(2), fresh, atol=1e-5)


def test_a_context_is_reported_as_context_and_not_as_a_recache(engine: CausalEngine) -> None:
    wanted, events = text_plan(chunks=2), list[Event]()
    with engine.session(wanted, events.append) as session:
        for chunk in wanted.chunks:
            session.generate(chunk)
    assert [event.chunk for event in events if isinstance(event, Stage) and event.stage == "context"] == [1]


def test_the_context_is_the_first_or_oldest_frame_and_the_last_two(
    engine: CausalEngine, contexts: list[tuple[Tensor, list[Tensor]]]
) -> None:
    made = latents_of(engine, text_plan())
    for (context, _), before in zip(contexts, made[:-1], strict=True):
        assert np.array_equal(context[0, 1:], before[-2:])
    assert np.array_equal(contexts[0][0][0, 0], made[0][0])
    for (context, _), before in zip(contexts[1:], made[1:-1], strict=True):
        assert all(np.abs(context[0, 0].numpy() - earlier).max() > 0.1 for earlier in before)


def test_a_chunk_knows_nothing_but_its_context(
    engine: CausalEngine, contexts: list[tuple[Tensor, list[Tensor]]]
) -> None:
    whole = text_plan(chunks=5)
    made = latents_of(engine, whole)
    context = contexts[-1][0]
    with engine.session(whole, silent) as session:
        session.generate(whole.chunks[0])
        session._state.history.put(0, context)
        assert np.array_equal(session.generate(whole.chunks[4]).latents(), made[4])


def watched(method: Any, spans: list[tuple[int, int]]) -> Any:
    """Wrap a method of a cache so that it also records the start and length of the spans that it returns."""

    def watching(self: KVCache, chunk: Chunk) -> ForwardSpan | None:
        span: ForwardSpan | None = method(self, chunk)
        if span is not None:
            spans.append((span.start, span.frames))
        return span

    return watching


def test_positions_never_grow(engine: CausalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[tuple[int, int]] = []
    for name in ("recache_span", "start_chunk"):
        monkeypatch.setattr(KVCache, name, watched(getattr(KVCache, name), spans))
    latents_of(engine, text_plan())
    assert spans == [(0, 3)] + 3 * [(0, 3), (3, 3)]
    spans.clear()
    latents_of(engine, small_video(chunks=3))
    assert spans == [(0, 4)] + 2 * [(0, 3), (3, 3)]


def small_video(chunks: int) -> Plan:
    job = {"num_frames": 12 * chunks + 1, "denoising_steps": STEPS, "noise_scale": 0.7}
    return replace(video_plan(spec=KREA, **job), height=SIZE, width=SIZE)


def test_a_sequence_of_video_continues_its_first_latent_too(
    engine: CausalEngine, contexts: list[tuple[Tensor, list[Tensor]]]
) -> None:
    made = latents_of(engine, small_video(chunks=2))
    assert [len(latents) for latents in made] == [4, 3]
    assert np.array_equal(contexts[0][0][0], made[0][[0, 2, 3]])


def test_there_is_no_clean_pass(engine: CausalEngine) -> None:
    passes: list[bool] = []
    hook = engine.transformer.register_forward_hook(lambda _m, _i, flow: passes.append(flow is not None))
    latents_of(engine, text_plan(chunks=3))
    hook.remove()
    assert passes == [True, True] + 2 * [False, True, True]


def dense(weight: float) -> Any:
    """Compute attention by its definition, with a weight for keys of the second and third frame of a context."""

    def attend(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        shares = (torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(query.shape[-1])).exp()
        if key.shape[1] == 6 * TOKENS:
            shares[..., TOKENS : 3 * TOKENS] *= weight
        return torch.einsum("bhqk,bkhd->bqhd", shares / shares.sum(-1, keepdim=True), value)

    return attend


@pytest.mark.parametrize("weight", [0.3, 0.05])
def test_the_weight_is_that_of_the_context_but_for_its_first_frame(
    engine: CausalEngine, weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = text_plan(chunks=3, kv_cache_attention_bias=weight)
    got = latents_of(engine, wanted)
    monkeypatch.setattr(transformer, "dispatch_attention_fn", dense(weight))
    for some, others in zip(got, latents_of(engine, wanted), strict=True):
        assert np.abs(some - others).max() < 1e-4


def test_a_weight_of_1_is_plain_attention(engine: CausalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[bool] = []
    attend = transformer.dispatch_attention_fn

    def watched(*args: Any, attn_mask: Tensor | None = None, **more: Any) -> Tensor:
        masks.append(attn_mask is not None)
        return attend(*args, attn_mask=attn_mask, **more)

    monkeypatch.setattr(transformer, "dispatch_attention_fn", watched)
    plain = latents_of(engine, text_plan(chunks=2, kv_cache_attention_bias=1.0))
    assert not any(masks)
    weighed = latents_of(engine, text_plan(chunks=2))
    assert sum(masks) == len(STEPS) * engine.transformer.config.num_layers
    assert alike(plain, weighed) == [True, False]


def test_each_chunk_has_its_own_weight(engine: CausalEngine) -> None:
    changed = latents_of(engine, text_plan({"chunk": 3, "kv_cache_attention_bias": 0.9}))
    assert alike(changed, latents_of(engine, text_plan())) == [True, True, True, False]


def test_a_new_prompt_acts_at_once_and_the_past_is_read_under_it(
    engine: CausalEngine, contexts: list[tuple[Tensor, list[Tensor]]]
) -> None:
    old = latents_of(engine, text_plan(chunks=3))
    new = latents_of(engine, text_plan({"chunk": 2, "text": "a red dog"}, chunks=3))
    assert alike(old, new) == [True, True, False]
    (context, before), (same, after) = contexts[1], contexts[3]
    assert torch.equal(context, same) and not torch.equal(before[-1], after[-1])


def test_after_a_cut_all_is_as_at_the_start(engine: CausalEngine) -> None:
    cut = latents_of(engine, text_plan({"chunk": 2, "reset_cache": True}, num_frames=42))
    assert alike(cut[:2], cut[2:]) == [True, True]


def test_a_second_render_is_the_same(engine: CausalEngine) -> None:
    wanted = text_plan()
    assert all(alike(latents_of(engine, wanted), latents_of(engine, wanted)))


def live_bytes() -> int:
    gc.collect()
    return sum(o.untyped_storage().nbytes() for o in gc.get_objects() if issubclass(type(o), Tensor))


def test_memory_is_flat(engine: CausalEngine) -> None:
    wanted = text_plan(chunks=16, denoising_steps=[1000])
    held = []
    with engine.session(wanted, silent) as session:
        for chunk in wanted.chunks:
            session.generate(chunk).frames()
            if chunk.index in (7, 15):
                held.append(live_bytes())
    assert held[0] == held[1]


def test_the_streaming_state_is_forecast_to_the_byte(engine: CausalEngine) -> None:
    wanted, sizes = text_plan(chunks=4), model_sizes(KREA.id, "tiny", "wan", vace=False)
    assert sizes is not None
    expected = device_memory(wanted, KREA, sizes, Precision(backbone=4, vae=4))
    with engine.session(wanted, silent) as session:
        for chunk in wanted.chunks:
            session.generate(chunk)
        state = session._state
        parts = [state.cache, state.history, state.encoder, state.vace]
        # Tables of a pass are counted with its working memory.
        held_bytes = held(tensor for part in parts for tensor in within(part, [state.cache.tables, state.text]))
    assert held_bytes == expected.kv_cache + expected.history + expected.vae_streams


def test_vace_steers_the_chunks_but_not_the_context(contexts: list[tuple[Tensor, list[Tensor]]]) -> None:
    steered_engine = load(replace(REQUEST, vace=True), silent)
    unsteered = text_plan(chunks=3)
    chunks = unsteered.chunks
    steered = replace(
        unsteered, chunks=(*chunks[:2], replace(chunks[2], vace=Vace(1.0, timeline=True, restart_streams=True)))
    )
    shape = (chunks[2].frames + 1, SIZE, SIZE)
    control = ChunkInputs(
        control=ControlFrames(np.full((*shape, 3), 0.5, np.float32), np.ones(shape, np.float32), True, False)
    )
    with steered_engine.session(steered, silent) as session:
        made = [session.generate(c, control if c.vace else NO_INPUTS).latents().copy() for c in steered.chunks]
    assert alike(made, latents_of(steered_engine, unsteered)) == [True, True, False]
    assert all(map(torch.equal, contexts[1][1], contexts[3][1]))


def scaled(wanted: Plan, *scales: float) -> Plan:
    chunks = zip(wanted.chunks, scales, strict=True)
    return replace(wanted, chunks=tuple(replace(chunk, lora_scales=(scale,)) for chunk, scale in chunks))


def test_a_lora_that_sets_in_changes_the_context_too(
    tmp_path: Path, contexts: list[tuple[Tensor, list[Tensor]]]
) -> None:
    write(tmp_path / "style.safetensors", pair("blocks.0.self_attn.v", 256, 256))
    branch = load(replace(REQUEST, loras=(LoraRequest(tmp_path / "style.safetensors", None),)), silent)
    off, on = (latents_of(branch, scaled(text_plan(chunks=3), 0.0, 0.0, last)) for last in (0.0, 1.0))
    assert alike(off, on) == [True, True, False]
    assert not torch.equal(contexts[1][1][0], contexts[3][1][0])
