"""Keys and values of the latent frames that self-attention remembers, and those of the prompt.

A cache is a row of slots, one latent frame each; which of them a pass writes and reads is plain arithmetic on Python
integers (`Pass`), known before the pass starts. What is read is always one contiguous slice: the order of keys does not
matter to softmax. Who decides about slots is a `scope_batch.engine.memory.Memory`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scope_batch.engine.rope import Rotary, rotate

Span = tuple[int, int, int]
"""`length` latent frames from `source` in the pass to `slot` in the cache: (source, slot, length)."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass over `frames` latent frames.

    start   rotary position of the first.
    writes  which of its frames are stored, and where.
    attend  slots 0 .. attend - 1 are attended to, and slots `first` .. -1 that a memory keeps before them.
    """

    start: int
    frames: int
    writes: tuple[Span, ...]
    attend: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Of one latent frame in a cache. tokens: per latent frame; dtype, device: of keys and values."""

    layers: int
    tokens: int
    heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device


class KVCache:
    """Keys and values of every layer, allocated once: [1, slots * tokens, heads, head_dim] each.

    ahead    of the slots lie before slot 0, with negative numbers.
    current  the pass in flight; layers store and read through it.
    score_bias  added to the scores of all its queries, [1, 1, 1, attended tokens]; None = plain attention.
    """

    def __init__(self, slots: int, size: CacheSize, *, ahead: int = 0) -> None:
        shape = (1, slots * size.tokens, size.heads, size.head_dim)
        self.size, self._ahead = size, ahead
        self.keys = [torch.zeros(shape, dtype=size.dtype, device=size.device) for _ in range(size.layers)]
        self.values = [torch.zeros(shape, dtype=size.dtype, device=size.device) for _ in range(size.layers)]
        self.current: Pass | None = None
        self.score_bias: Tensor | None = None

    def attended(self, layer: int, key: Tensor, value: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Store this pass's keys, not rotated yet, and values; return all that is attended to, rotated."""
        return self.update(layer, rotate(key, rotary), value)

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values [1, frames * tokens, heads, head_dim] as they are; return all that is attended to."""
        assert self.current is not None, "a pass must be set before attention runs"
        keys, values = self.keys[layer], self.values[layer]
        for source, slot, length in self.current.writes:
            new = slice(source * self.size.tokens, (source + length) * self.size.tokens)
            self.slots(keys, slot, slot + length).copy_(key[:, new])
            self.slots(values, slot, slot + length).copy_(value[:, new])
        first, end = self.current.first, self.current.attend
        return self.slots(keys, first, end), self.slots(values, first, end)

    def slots(self, stored: Tensor, first: int, end: int) -> Tensor:
        """Slots first .. end - 1 of one layer's keys or values, a view."""
        tokens = self.size.tokens
        return stored[:, (self._ahead + first) * tokens : (self._ahead + end) * tokens]


class TextCache:
    """Keys and values of the prompt for every layer, computed once per prompt: [1, 512, heads, head_dim] each."""

    def __init__(self, layers: int) -> None:
        self._entries: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._stale = [True] * layers
        self._beside: list[TextCache] = []

    def beside(self, layers: int) -> TextCache:
        """A cache for other layers that read the same prompt: cleared with this one, filled by itself."""
        self._beside.append(TextCache(layers))
        return self._beside[-1]

    def clear(self) -> None:
        self._stale = [True] * len(self._entries)
        for other in self._beside:
            other.clear()

    @property
    def filled(self) -> bool:
        return not any(self._stale)

    def get(self, layer: int) -> tuple[Tensor, Tensor] | None:
        return None if self._stale[layer] else self._entries[layer]

    def latest(self, layer: int) -> tuple[Tensor, Tensor]:
        """What was put last, also where it was cleared since."""
        entry = self._entries[layer]
        assert entry is not None, "no prompt was read yet"
        return entry

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self._entries[layer], self._stale[layer] = (key, value), False
        return key, value
