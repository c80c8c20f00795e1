"""Checks what each pass of each pipeline attends to: every token carries the number of its latent frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scope_batch.core.plan import Chunk
from scope_batch.engine.cache_policy import BankPolicy, policy_of
from scope_batch.engine.forward_span import ForwardSpan
from scope_batch.engine.kv_cache import CacheShape, KVCache
from scope_batch.engine.text_cache import TextCache
from scope_batch.pipelines import PIPELINES, PipelineSpec
from tests.plan.helpers import plan, video_plan

CPU = torch.device("cpu")
SHAPE = CacheShape(layers=1, rows=1, columns=2, heads=1, head_dim=2, dtype=torch.float32, device=CPU)
IDENTITY = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
"""A rotary table that rotates nothing."""


def frames(*spans: int | tuple[int, int]) -> list[int]:
    """Expand ranges and numbers: (0, 2), 6 -> 0, 1, 2, 6."""
    return [f for span in spans for f in (range(span[0], span[1] + 1) if isinstance(span, tuple) else [span])]


def spec_of(pipeline: str, window: int | None = None) -> PipelineSpec:
    spec = PIPELINES[pipeline]
    return replace(spec, window=window or spec.window)


def chunks_of(spec: PipelineSpec, mode: str, count: int, **fields: object) -> tuple[Chunk, ...]:
    made = video_plan if mode == "video" else plan
    return made(spec=spec, num_frames=96 if mode == "video" else 12 * count, **fields).chunks[:count]


def cache_of(spec: PipelineSpec, *, bank: bool = False, text: TextCache | None = None, **shape: object) -> KVCache:
    return KVCache(policy_of(spec, bank=bank), replace(SHAPE, **shape), text or TextCache(1, CPU))  # type: ignore[arg-type]


def store(cache: KVCache, span: ForwardSpan, first: int, key: float = 0.0) -> Tensor:
    """Run one pass over latent frames `first` ...; return the values that it attends to, one per latent frame."""
    ids = torch.arange(first, first + span.frames, dtype=torch.float32)
    value = ids.repeat_interleave(SHAPE.tokens).view(1, -1, 1, 1).expand(1, -1, 1, SHAPE.head_dim)
    with cache.forward_pass(span):
        values = cache.append_and_read(0, torch.full_like(value, key), value).values
    assert torch.equal(values[:, ::2], values[:, 1::2]), "tokens of a latent frame stay together"
    return values[0, ::2, 0, 0]


def walk(cache: KVCache, chunks: Sequence[Chunk]) -> Iterator[tuple[ForwardSpan, list[int]]]:
    """Run all chunks; yield each chunk's pass and the frames that it attends to, in the order of the slots."""
    for chunk in chunks:
        span = cache.start_chunk(chunk)
        first = store(cache, span, chunk.start_latent)
        assert torch.equal(store(cache, span, chunk.start_latent), first)
        cache.finish_chunk(chunk)
        yield span, [int(frame) for frame in first]


def attended(spec: PipelineSpec, mode: str, count: int) -> list[list[int]]:
    return [sorted(seen) for _, seen in walk(cache_of(spec), chunks_of(spec, mode, count))]


THREES = {
    6: [frames((0, 2)), frames((0, 5)), frames((0, 2), (6, 8)), frames((0, 2), (9, 11))],
    9: [frames((0, 2)), frames((0, 5)), frames((0, 8)), frames((0, 2), (6, 11)), frames((0, 2), (9, 14))],
    12: [frames((0, n)) for n in (2, 5, 8, 11)] + [frames((0, 2), (6, 14)), frames((0, 2), (9, 17))],
}


@pytest.mark.parametrize("pipeline", ["longlive", "memflow", "reward-forcing"])
@pytest.mark.parametrize("window", THREES)
def test_sink_and_window_of_chunks_of_three(pipeline: str, window: int) -> None:
    want = THREES[window]
    assert attended(spec_of(pipeline, window), "text", len(want)) == want


ONES = {
    6: [frames((0, n)) for n in (1, 2, 3, 4, 5)] + [frames((0, 2), (4, 6)), frames((0, 2), (5, 7))],
    9: [frames((0, n)) for n in range(1, 9)] + [frames((0, 2), (4, 9)), frames((0, 2), (5, 10))],
    12: [frames((0, n)) for n in range(1, 12)] + [frames((0, 2), (4, 12))],
}


@pytest.mark.parametrize("mode", ["text", "video"])
@pytest.mark.parametrize("window", ONES)
def test_sink_and_window_with_chunks_of_one_latent_frame(mode: str, window: int) -> None:
    want = ONES[window]
    assert attended(spec_of("streamdiffusionv2", window), mode, len(want)) == want


@pytest.mark.parametrize("pipeline", ["longlive", "memflow"])
def test_a_first_chunk_of_video_has_four(pipeline: str) -> None:
    want = [frames((0, n)) for n in (3, 6, 9)] + [frames((0, 2), (4, 12)), frames((0, 2), (7, 15))]
    assert attended(spec_of(pipeline), "video", 5) == want


@pytest.mark.parametrize("window", THREES)
@pytest.mark.parametrize("mode", ["text", "video"])
def test_relative_positions_are_sink_then_window_in_time_order(window: int, mode: str) -> None:
    spec = spec_of("reward-forcing", window)
    chunks = chunks_of(spec, mode, 5)
    for chunk, (span, seen) in zip(chunks, walk(cache_of(spec), chunks), strict=True):
        assert span.key_positions is not None
        in_order = [frame for _, frame in sorted(zip(span.key_positions, seen, strict=True))]
        assert sorted(span.key_positions) == list(range(len(seen))) and in_order == sorted(seen)
        assert span.start == len(seen) - chunk.latents


def test_the_next_chunk_takes_the_place_of_the_fourth_latent_frame_of_video() -> None:
    assert attended(spec_of("reward-forcing"), "video", 4) == [frames((0, 3)), *THREES[9][1:4]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frames_that_leave_the_window_fade_into_the_sink_once(dtype: torch.dtype) -> None:
    spec = spec_of("reward-forcing")
    cache = cache_of(spec, dtype=dtype)
    list(walk(cache, chunks_of(spec, "text", 3)))
    drawn = torch.randn(cache.keys[0].shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    cache.keys[0].copy_(drawn)
    third = 3 * SHAPE.tokens
    want = drawn[:, :third] * 0.999 + drawn[:, third : 2 * third] * 0.001
    list(walk(cache, chunks_of(spec, "text", 4)[3:]))
    assert torch.equal(cache.keys[0][:, :third], want)


def test_a_recache_sees_the_window_and_keeps_a_late_sink() -> None:
    spec = spec_of("memflow")
    chunks = chunks_of(spec, "text", 7, chunk_specs=[{"chunk": k, "text": str(k)} for k in (3, 6)])
    cache = cache_of(spec)
    list(walk(cache, chunks[:3]))
    early, late = cache.recache_span(chunks[3]), cache.recache_span(chunks[6])
    assert cache.recache_span(chunks[4]) is None and early is not None and late is not None
    assert sorted(store(cache, early, 0)) == frames((0, 8))
    list(walk(cache, chunks[3:6]))
    assert sorted(store(cache, late, late.start)) == frames((0, 2), (9, 17))


def banked(text: TextCache | None = None) -> tuple[KVCache, tuple[Chunk, ...]]:
    spec = spec_of("memflow")
    return cache_of(spec, bank=True, text=text), chunks_of(spec, "text", 11)


def test_the_bank_takes_a_frame_of_every_third_chunk() -> None:
    cache, chunks = banked()
    beyond = [[], [0], [0], [], [0, 9], [0, 9], [0], [0, 9, 18], [0, 9, 18], [0, 9]]
    for chunk, (_, seen), bank in zip(chunks, walk(cache, chunks[:10]), beyond, strict=False):
        assert sorted(seen[: len(bank)]) == bank
        end = chunk.start_latent + 3
        assert sorted(seen[len(bank) :]) == frames((0, min(2, end)), (max(3, end - 9), end - 1))


def test_a_full_bank_evicts_the_frame_that_agrees_least_with_the_prompt() -> None:
    text = TextCache(1, CPU)
    cache, chunks = banked(text)
    text.put(0, torch.ones(1, 512, 1, 2), torch.ones(1, 512, 1, 2))
    keys = {0: 1.0, 3: -1.0, 6: 2.0}
    for chunk in chunks[:10]:
        store(cache, cache.start_chunk(chunk), chunk.start_latent, keys.get(chunk.index, 0.0))
        cache.finish_chunk(chunk)
    ((_, seen),) = walk(cache, chunks[10:])
    assert sorted(seen[:3]) == [0, 18, 27]


def test_a_cut_empties_the_bank() -> None:
    cache, chunks = banked()
    list(walk(cache, chunks[:5]))
    cache.reset()
    assert [seen for _, seen in walk(cache, chunks[:2])] == [[0, 1, 2], [0, *range(6)]]


def test_without_the_bank_it_costs_nothing() -> None:
    plain, (cache, _) = cache_of(spec_of("memflow")), banked()
    assert isinstance(cache.policy, BankPolicy) and not isinstance(plain.policy, BankPolicy)
    assert cache.keys[0].shape[1] - plain.keys[0].shape[1] == 4 * SHAPE.tokens


@pytest.mark.parametrize(("pipeline", "bank"), [("longlive", False), ("memflow", True), ("reward-forcing", False)])
def test_slots_that_are_not_kept_are_never_read(pipeline: str, bank: bool) -> None:
    """Overwriting them between chunks changes nothing that a chunk or a recache attends to."""
    spec = spec_of(pipeline)
    text = TextCache(1, CPU)
    text.put(0, torch.ones(1, 512, 1, 2), torch.ones(1, 512, 1, 2))
    chunks = chunks_of(spec, "text", 8)
    plain, cache = (cache_of(spec, bank=bank, text=text) for _ in range(2))
    for chunk in chunks:
        first, end = cache.policy.kept_slots
        for stored in (*cache.keys, *cache.values):
            cache.slots(stored, -cache.policy.bank_slots, first).fill_(torch.nan)
            cache.slots(stored, end, cache.policy.window).fill_(torch.nan)
        assert list(walk(cache, [chunk])) == list(walk(plain, [chunk]))


def test_a_context_pipeline_keeps_nothing() -> None:
    policy = policy_of(PIPELINES["krea-realtime-video"], bank=False)
    (chunk,) = chunks_of(PIPELINES["krea-realtime-video"], "text", 1)
    policy.start_chunk(chunk)
    assert policy.kept_slots == (0, 0)
