from dataclasses import replace

import pytest
import torch

from scope_batch.engine.cache_policy import ContextPolicy, RollingPolicy
from scope_batch.engine.forward_span import ForwardSpan, KeyWeight
from scope_batch.engine.kv_cache import CacheShape, KVCache, PassTables
from scope_batch.engine.rolling_window import RollingWindow
from scope_batch.engine.text_cache import TextCache
from scope_batch.pipelines.builtin import KREA
from tests.plan.helpers import plan

CPU = torch.device("cpu")
UNROTATED = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
LONGLIVE = RollingWindow(size=12, sink=3)


def contents(window: RollingWindow, chunks: list[int]) -> list[int]:
    """Return the latent frame in each slot after chunks of these lengths."""
    slots = [-1] * window.size
    start = 0
    for frames in chunks:
        for source, slot, length in window.chunk_span(start, frames).writes:
            slots[slot : slot + length] = range(start + source, start + source + length)
        start += frames
    return slots


def test_text_chunks_fill_the_window_then_roll_behind_the_sink() -> None:
    assert contents(LONGLIVE, [3] * 4) == list(range(12))
    for n in range(5, 40):
        held = contents(LONGLIVE, [3] * n)
        assert held[:3] == [0, 1, 2]
        assert sorted(held[3:]) == list(range(3 * n - 9, 3 * n))


def test_video_chunks_whose_lengths_do_not_divide_the_ring() -> None:
    held = contents(LONGLIVE, [4, 3, 3, 3])
    assert held[:3] == [0, 1, 2] and sorted(held[3:]) == list(range(4, 13))
    held = contents(LONGLIVE, [4, 3, 3, 3, 3])
    assert held[:3] == [0, 1, 2] and sorted(held[3:]) == list(range(7, 16))


def test_a_chunk_attends_to_the_filled_slots() -> None:
    assert [LONGLIVE.chunk_span(start, 3).end for start in (0, 3, 9, 12, 300)] == [3, 6, 12, 12, 12]


def test_every_write_is_within_the_window_and_at_most_two_spans() -> None:
    for start in range(100):
        writes = LONGLIVE.chunk_span(start, 3).writes
        assert sum(length for _, _, length in writes) == 3 and len(writes) <= 2
        assert all(slot >= 0 and slot + length <= 12 for _, slot, length in writes)


def test_an_early_recache_rewrites_the_sink() -> None:
    assert LONGLIVE.recache_span(9) == ForwardSpan(0, 9, ((0, 0, 9),), 9)
    assert LONGLIVE.recache_span(12) == ForwardSpan(0, 12, ((0, 0, 12),), 12)


def test_a_late_recache_keeps_the_sink_and_only_asks_with_its_first_frames() -> None:
    late = LONGLIVE.recache_span(18)
    assert (late.start, late.frames, late.end) == (6, 12, 12)
    assert sum(length for _, _, length in late.writes) == 9
    assert min(source for source, _, _ in late.writes) == 3
    assert min(slot for _, slot, _ in late.writes) == 3


def test_the_cache_stores_by_slot_and_hands_out_one_slice() -> None:
    window = RollingWindow(size=4, sink=1)
    shape = CacheShape(1, rows=1, columns=2, heads=1, head_dim=2, dtype=torch.float32, device=CPU)
    cache = KVCache(RollingPolicy(window), shape, TextCache(1, CPU))
    seen = torch.zeros(0)
    for frame in range(7):
        key = torch.full((1, 2, 1, 2), float(frame))
        with cache.forward_pass(window.chunk_span(frame, 1)):
            keys, values, _, _ = cache.append_and_read(0, key, key + 0.5)
        seen = keys[..., 0].flatten()
        assert torch.equal(values, keys + 0.5)
    assert seen[:2].tolist() == [0, 0] and sorted(seen[2:].tolist()) == [4, 4, 5, 5, 6, 6]


def test_layers_can_read_only_inside_a_pass() -> None:
    shape = CacheShape(1, rows=1, columns=2, heads=1, head_dim=2, dtype=torch.float32, device=CPU)
    cache, key = KVCache(RollingPolicy(LONGLIVE), shape, TextCache(1, CPU)), torch.zeros(1, 2, 1, 2)
    with cache.forward_pass(LONGLIVE.chunk_span(0, 1)):
        cache.append_and_read(0, key, key)
    with pytest.raises(AssertionError, match="only inside `forward_pass`"):
        cache.append_and_read(0, key, key)


def test_tables_are_allocated_once_and_rewritten_in_place() -> None:
    tables = PassTables(CacheShape(1, 1, 2, 1, 2, torch.float32, CPU), window=4)
    spans = [ForwardSpan(start, 2, (), 3, 0, (start, 1, 2), KeyWeight(0.5, start, 2)) for start in (0, 1)]
    made = [[*tables.rotary(span), *(tables.key_rotary(span) or ()), tables.bias(span)] for span in spans]
    assert all(one.data_ptr() == other.data_ptr() for one, other in zip(*made, strict=True) if one is not None)
    assert tables.rotary(spans[0])[0][0, 0, 0, 0] == 1 and tables.rotary(spans[1])[0][0, 0, 0, 0] != 1


def test_a_chunk_larger_than_the_ring_is_refused() -> None:
    try:
        RollingWindow(size=4, sink=2).chunk_span(4, 3)
    except ValueError as error:
        assert "does not fit" in str(error)
    else:
        raise AssertionError("accepted")


def bias(weight: float, first: int, end: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the bias of 12 keys, two per latent frame."""
    tables = PassTables(CacheShape(1, 1, 2, 1, 2, dtype, CPU), window=8)
    row = tables.bias(ForwardSpan(0, 1, (), 6, key_weight=KeyWeight(weight, first, end)))
    assert row is not None
    return row


def test_a_key_weight_multiplies_the_shares_of_exactly_these_keys() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    got = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias(0.3, 1, 3))
    shares = (query @ key.transpose(2, 3) / 8**0.5).exp()
    shares[..., 2:6] *= 0.3
    assert torch.allclose(got, shares / shares.sum(-1, keepdim=True) @ value, atol=1e-6)


def test_one_row_of_bias_serves_all_queries_in_their_dtype() -> None:
    row = bias(0.3, 1, 3, torch.bfloat16)
    assert row.shape == (1, 1, 1, 12) and row.dtype == torch.bfloat16


@pytest.mark.parametrize(("weight", "start"), [(1.0, 3), (0.3, 0)])
def test_a_weight_without_effect_is_plain_attention(weight: float, start: int) -> None:
    (chunk,) = plan(spec=KREA, num_frames=9).chunks
    _, span = ContextPolicy(6).start_chunk(replace(chunk, start_latent=start, attention_bias=weight))
    assert span.key_weight is None
