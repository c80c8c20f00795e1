import torch

from scope_batch.engine.kv_cache import CacheSize, KVCache, Pass
from scope_batch.engine.rolling import RollingWindow

LONGLIVE = RollingWindow(window=12, sink=3)


def contents(window: RollingWindow, chunks: list[int]) -> list[int]:
    """The latent frame in each slot after chunks of these lengths."""
    slots = [-1] * window.window
    start = 0
    for frames in chunks:
        for source, slot, length in window.chunk(start, frames).writes:
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


def test_a_chunk_attends_to_what_is_filled() -> None:
    assert [LONGLIVE.chunk(start, 3).attend for start in (0, 3, 9, 12, 300)] == [3, 6, 12, 12, 12]


def test_every_write_is_within_the_window_and_at_most_two_spans() -> None:
    for start in range(100):
        writes = LONGLIVE.chunk(start, 3).writes
        assert sum(length for _, _, length in writes) == 3 and len(writes) <= 2
        assert all(slot >= 0 and slot + length <= 12 for _, slot, length in writes)


def test_an_early_recache_rewrites_the_sink() -> None:
    assert LONGLIVE.recache(9) == Pass(0, 9, ((0, 0, 9),), 9)
    assert LONGLIVE.recache(12) == Pass(0, 12, ((0, 0, 12),), 12)


def test_a_late_recache_keeps_the_sink_and_only_asks_with_its_first_frames() -> None:
    late = LONGLIVE.recache(18)
    assert (late.start, late.frames, late.attend) == (6, 12, 12)
    assert sum(length for _, _, length in late.writes) == 9
    assert min(source for source, _, _ in late.writes) == 3
    assert min(slot for _, slot, _ in late.writes) == 3


def test_the_cache_stores_by_slot_and_hands_out_one_slice() -> None:
    window = RollingWindow(window=4, sink=1)
    cache = KVCache(4, CacheSize(1, tokens=2, heads=1, head_dim=1, dtype=torch.float32, device=torch.device("cpu")))
    seen = torch.zeros(0)
    for frame in range(7):
        cache.current = window.chunk(frame, 1)
        key = torch.full((1, 2, 1, 1), float(frame))
        keys, values = cache.update(0, key, key + 0.5)
        seen = keys.flatten()
        assert torch.equal(values, keys + 0.5)
    assert seen[:2].tolist() == [0, 0] and sorted(seen[2:].tolist()) == [4, 4, 5, 5, 6, 6]


def test_a_chunk_larger_than_the_ring_is_refused() -> None:
    try:
        RollingWindow(window=4, sink=2).chunk(4, 3)
    except ValueError as error:
        assert "does not fit" in str(error)
    else:
        raise AssertionError("accepted")
