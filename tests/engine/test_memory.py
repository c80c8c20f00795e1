"""What each pass of each pipeline attends to: every token carries the latent frame that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scope_batch.chunk import Chunk
from scope_batch.engine.kv_cache import CacheSize, Pass, TextCache
from scope_batch.engine.memory import Memory, open_memory
from scope_batch.engine.memory_bank import BankedMemory
from scope_batch.engine.relative import RelativeMemory
from scope_batch.engine.rope import Rotary, RotaryTable
from scope_batch.pipelines import PIPELINES, PipelineSpec
from tests.plan.helpers import plan, video_plan

CPU = torch.device("cpu")
SIZE = CacheSize(layers=1, tokens=2, heads=1, head_dim=2, dtype=torch.float32, device=CPU)
STILL = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
"""Turns nothing."""


class Places(RotaryTable):
    """Turns nothing, and knows the places that the keys were given."""

    def __init__(self) -> None:
        super().__init__(12, 1, 2, CPU)
        self.keys: list[int] = []

    def at(self, positions: Sequence[int]) -> Rotary:
        self.keys = list(positions)
        return STILL


def frames(*spans: int | tuple[int, int]) -> list[int]:
    """(0, 2), 6 -> 0, 1, 2, 6."""
    return [f for span in spans for f in (range(span[0], span[1] + 1) if isinstance(span, tuple) else [span])]


def spec_of(pipeline: str, window: int | None = None) -> PipelineSpec:
    spec = PIPELINES[pipeline]
    return replace(spec, window=window or spec.window)


def chunks_of(spec: PipelineSpec, mode: str, count: int, **fields: object) -> tuple[Chunk, ...]:
    made = video_plan if mode == "video" else plan
    return made(spec=spec, num_frames=96 if mode == "video" else 12 * count, **fields).chunks[:count]


def store(memory: Memory, here: Pass, first: int, key: float = 0.0) -> Tensor:
    """One pass over latent frames `first` ...; the values that it attends to, one per latent frame."""
    memory.current = here
    ids = torch.arange(first, first + here.frames, dtype=torch.float32)
    value = ids.repeat_interleave(SIZE.tokens).view(1, -1, 1, 1).expand(1, -1, 1, SIZE.head_dim)
    _, values = memory.attended(0, torch.full_like(value, key), value, STILL)
    assert torch.equal(values[:, ::2], values[:, 1::2]), "tokens of a latent frame stay together"
    return values[0, ::2, 0, 0]


def walk(memory: Memory, chunks: Sequence[Chunk]) -> Iterator[list[int]]:
    """What each chunk attends to, in the order of the slots; its last pass attends to the same."""
    for chunk in chunks:
        here = memory.begin(chunk)
        first = store(memory, here, chunk.start_latent)
        assert torch.equal(store(memory, here, chunk.start_latent), first)
        memory.end(chunk)
        yield [int(frame) for frame in first]


def attended(spec: PipelineSpec, mode: str, count: int) -> list[list[int]]:
    memory = open_memory(spec, SIZE, Places(), TextCache(1), bank=False)
    return [sorted(seen) for seen in walk(memory, chunks_of(spec, mode, count))]


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
def test_sink_and_window_of_chunks_of_one(mode: str, window: int) -> None:
    want = ONES[window]
    assert attended(spec_of("streamdiffusionv2", window), mode, len(want)) == want


@pytest.mark.parametrize("pipeline", ["longlive", "memflow"])
def test_a_first_chunk_of_video_has_four(pipeline: str) -> None:
    want = [frames((0, n)) for n in (3, 6, 9)] + [frames((0, 2), (4, 12)), frames((0, 2), (7, 15))]
    assert attended(spec_of(pipeline), "video", 5) == want


@pytest.mark.parametrize("window", THREES)
@pytest.mark.parametrize("mode", ["text", "video"])
def test_relative_positions_are_sink_then_window_in_time_order(window: int, mode: str) -> None:
    spec, places = spec_of("reward-forcing", window), Places()
    memory = open_memory(spec, SIZE, places, TextCache(1), bank=False)
    chunks = chunks_of(spec, mode, 5)
    for chunk, seen in zip(chunks, walk(memory, chunks), strict=True):
        in_order = [frame for _, frame in sorted(zip(places.keys, seen, strict=True))]
        assert sorted(places.keys) == list(range(len(seen))) and in_order == sorted(seen)
        assert memory.current is not None and memory.current.start == len(seen) - chunk.latents


def test_the_next_chunk_takes_the_place_of_the_fourth_latent_frame_of_video() -> None:
    assert attended(spec_of("reward-forcing"), "video", 4) == [frames((0, 3)), *THREES[9][1:4]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_leaves_the_window_is_folded_into_the_sink_once(dtype: torch.dtype) -> None:
    spec = spec_of("reward-forcing")
    memory = open_memory(spec, replace(SIZE, dtype=dtype), Places(), TextCache(1), bank=False)
    assert isinstance(memory, RelativeMemory)
    list(walk(memory, chunks_of(spec, "text", 3)))
    drawn = torch.randn(memory.keys[0].shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    memory.keys[0].copy_(drawn)
    third = 3 * SIZE.tokens
    want = drawn[:, :third] * 0.999 + drawn[:, third : 2 * third] * 0.001
    list(walk(memory, chunks_of(spec, "text", 4)[3:]))
    assert torch.equal(memory.keys[0][:, :third], want)


def test_between_chunks_there_are_keys_and_values_alone() -> None:
    memory = open_memory(spec_of("reward-forcing"), SIZE, Places(), TextCache(1), bank=False)
    list(walk(memory, chunks_of(spec_of("reward-forcing"), "text", 2)))
    assert [name for name, value in vars(memory).items() if isinstance(value, Tensor | tuple)] == []


def test_a_recache_sees_the_window_and_keeps_a_late_sink() -> None:
    spec = spec_of("memflow")
    chunks = chunks_of(spec, "text", 7, chunk_specs=[{"chunk": k, "text": str(k)} for k in (3, 6)])
    memory = open_memory(spec, SIZE, Places(), TextCache(1), bank=False)
    list(walk(memory, chunks[:3]))
    early, late = memory.renewal(chunks[3]), memory.renewal(chunks[6])
    assert memory.renewal(chunks[4]) is None and early is not None and late is not None
    assert sorted(store(memory, early, 0)) == frames((0, 8))
    list(walk(memory, chunks[3:6]))
    assert sorted(store(memory, late, late.start)) == frames((0, 2), (9, 17))


def banked(text: TextCache | None = None) -> tuple[BankedMemory, tuple[Chunk, ...]]:
    memory = open_memory(spec_of("memflow"), SIZE, Places(), text or TextCache(1), bank=True)
    assert isinstance(memory, BankedMemory)
    return memory, chunks_of(spec_of("memflow"), "text", 11)


def test_the_bank_takes_a_frame_of_every_third_chunk() -> None:
    memory, chunks = banked()
    beyond = [[], [0], [0], [], [0, 9], [0, 9], [0], [0, 9, 18], [0, 9, 18], [0, 9]]
    for chunk, seen, bank in zip(chunks, walk(memory, chunks[:10]), beyond, strict=False):
        assert sorted(seen[: len(bank)]) == bank
        end = chunk.start_latent + 3
        assert sorted(seen[len(bank) :]) == frames((0, min(2, end)), (max(3, end - 9), end - 1))


def test_a_full_bank_gives_up_what_the_prompt_asks_for_least() -> None:
    text = TextCache(1)
    memory, chunks = banked(text)
    text.put(0, torch.ones(1, 512, 1, 2), torch.ones(1, 512, 1, 2))
    keys = {0: 1.0, 3: -1.0, 6: 2.0}
    for chunk in chunks[:10]:
        store(memory, memory.begin(chunk), chunk.start_latent, keys.get(chunk.index, 0.0))
        memory.end(chunk)
    (seen,) = walk(memory, chunks[10:])
    assert sorted(seen[:3]) == [0, 18, 27]


def test_a_cut_empties_the_bank() -> None:
    memory, chunks = banked()
    list(walk(memory, chunks[:5]))
    memory.forget()
    assert list(walk(memory, chunks[:2])) == [[0, 1, 2], [0, *range(6)]]


def test_without_the_bank_it_costs_nothing() -> None:
    plain = open_memory(spec_of("memflow"), SIZE, Places(), TextCache(1), bank=False)
    memory, _ = banked()
    assert not isinstance(plain, BankedMemory)
    assert memory.keys[0].shape[1] - plain.keys[0].shape[1] == 4 * SIZE.tokens  # type: ignore[attr-defined]
