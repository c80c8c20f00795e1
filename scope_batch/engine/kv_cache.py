"""Stores the keys and values of the latent frames that self-attention reads, as a cache policy decides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scope_batch.core.geometry import BANK_FRAMES
from scope_batch.core.plan import Chunk
from scope_batch.engine.cache_policy import CachePolicy
from scope_batch.engine.device import overwrite
from scope_batch.engine.forward_span import CacheEdit, CopySlot, EvictFromBank, ForwardSpan, KeyWeight
from scope_batch.engine.rope import Rotary, RotaryTable
from scope_batch.engine.text_cache import TextCache

SINK_KEEPS, SINK_TAKES = 0.999, 0.001
"""Weights of the old sink and of the frames that leave the window, in the new sink."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The size of the keys and values of one latent frame of rows x columns tokens, in every layer.

    dtype, device  where and how the cache stores them.
    """

    layers: int
    rows: int
    columns: int
    heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def tokens(self) -> int:
        return self.rows * self.columns

    def rotary_table(self, frames: int) -> RotaryTable:
        """Allocate a table for up to `frames` latent frames."""
        return RotaryTable(self.head_dim, self.rows, self.columns, frames, self.device)


class Attended(NamedTuple):
    """The keys and values that a layer attends to, [1, tokens, heads, head_dim] each.

    bias    added to the attention scores of all queries, [1, 1, 1, tokens]; None = nothing is added.
    rotary  table with which the keys are to be rotated; None = they are stored rotated.
    """

    keys: Tensor
    values: Tensor
    bias: Tensor | None
    rotary: Rotary | None


class KVCache:
    """The KV cache of one render, allocated once: for every layer keys and values [1, slots * tokens, heads, head_dim].

    Call `reset` at a cut, and `recache_span`, `start_chunk` and `finish_chunk` for every chunk. Run every forward pass
    inside `forward_pass`, where each layer calls `append_and_read` once.
    """

    def __init__(self, policy: CachePolicy, shape: CacheShape, text: TextCache) -> None:
        """Allocate all slots. text: the prompt's keys, with which a memory bank compares its frames."""
        size = (1, (policy.bank_slots + policy.window) * shape.tokens, shape.heads, shape.head_dim)
        self.policy, self.shape, self._text = policy, shape, text
        self.keys = [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]
        self.values = [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]
        self.tables = PassTables(shape, policy.window)
        self._pass: tuple[ForwardSpan, Rotary | None, Tensor | None] | None = None

    def reset(self) -> None:
        """Start a new sequence. Slots keep their contents: no pass reads a slot that its sequence has not written."""
        self.policy.reset()

    def recache_span(self, chunk: Chunk) -> ForwardSpan | None:
        """Return the pass that recomputes keys and values before the chunk; None if none is required."""
        return self.policy.recache_span(chunk)

    def start_chunk(self, chunk: Chunk) -> ForwardSpan:
        """Make room for the chunk. Returns the pass that every denoising step runs."""
        edits, span = self.policy.start_chunk(chunk)
        self._apply(edits)
        return span

    def finish_chunk(self, chunk: Chunk) -> None:
        """Update the memory bank. Call it after the chunk's last pass, which stores the final keys and values."""
        self._apply(self.policy.finish_chunk(chunk))

    @contextmanager
    def forward_pass(self, span: ForwardSpan) -> Iterator[Rotary]:
        """Make all layers store and read by `span` in the with-body. Yields the rotary table of the pass's frames."""
        assert self._pass is None, "forward passes cannot be nested"
        rotary = self.tables.rotary(span)
        self._pass = span, self.tables.key_rotary(span), self.tables.bias(span)
        try:
            yield rotary
        finally:
            self._pass = None

    @property
    def stores_rotated(self) -> bool:
        """True if keys are stored rotated by the positions of the pass."""
        assert self._pass is not None, "attention runs only inside `forward_pass`"
        return self._pass[1] is None

    def append_and_read(self, layer: int, key: Tensor, value: Tensor) -> Attended:
        """Store a layer's keys and values of the pass, and return all keys and values that it attends to.

        key, value  [1, frames * tokens, heads, head_dim]; the keys are rotated if `stores_rotated`.
        """
        assert self._pass is not None, "attention runs only inside `forward_pass`"
        span, key_rotary, bias = self._pass
        keys, values, tokens = self.keys[layer], self.values[layer], self.shape.tokens
        for source, slot, length in span.writes:
            new = slice(source * tokens, (source + length) * tokens)
            self.slots(keys, slot, slot + length).copy_(key[:, new])
            self.slots(values, slot, slot + length).copy_(value[:, new])
        attended_keys, attended_values = (self.slots(stored, span.first, span.end) for stored in (keys, values))
        return Attended(attended_keys, attended_values, bias, key_rotary)

    def state(self) -> dict[str, Any]:
        """Return the policy's counters, and one tensor per layer of the keys and values that later chunks may read."""
        kept = self.policy.kept_slots
        keys, values = ([self.slots(stored, *kept) for stored in tensors] for tensors in (self.keys, self.values))
        return {"keys": keys, "values": values, **{f"policy.{name}": n for name, n in self.policy.state().items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.policy.restore({name.removeprefix("policy."): value for name, value in state.items()})
        saved = (*state["keys"], *state["values"])
        for stored, source in zip((*self.keys, *self.values), saved, strict=True):
            overwrite(self.slots(stored, *self.policy.kept_slots), source)

    def slots(self, stored: Tensor, first: int, end: int) -> Tensor:
        """Return a view of slots first .. end - 1 of one layer's keys or values."""
        ahead, tokens = self.policy.bank_slots, self.shape.tokens
        return stored[:, (ahead + first) * tokens : (ahead + end) * tokens]

    def _apply(self, edits: tuple[CacheEdit, ...]) -> None:
        for edit in edits:
            if isinstance(edit, EvictFromBank):
                for layer in range(self.shape.layers):
                    self._evict(layer)
                continue
            for stored in (*self.keys, *self.values):
                if isinstance(edit, CopySlot):
                    source = self.slots(stored, edit.source, edit.source + 1)
                    self.slots(stored, edit.target, edit.target + 1).copy_(source)
                else:
                    leaving = self.slots(stored, edit.slot, edit.slot + edit.length)
                    sink = self.slots(stored, edit.sink, edit.sink + edit.length)
                    sink.mul_(SINK_KEEPS).add_(leaving * SINK_TAKES)

    def _evict(self, layer: int) -> None:
        """Keep the frames of the bank whose keys have the highest mean dot product with the prompt's keys."""
        words = self._text.latest(layer)[0].float().mean(dim=1, keepdim=True)
        frames = self._bank(self.keys[layer]).float().mean(dim=2)
        score = (words * frames).sum(dim=3).mean(dim=2)[0]
        kept = score.topk(BANK_FRAMES - 1).indices
        for stored in (self.keys[layer], self.values[layer]):
            remaining = self._bank(stored).index_select(1, kept)
            self.slots(stored, 1 - BANK_FRAMES, 0).copy_(remaining.flatten(1, 2))

    def _bank(self, stored: Tensor) -> Tensor:
        """Return a view of the full bank, [1, BANK_FRAMES, tokens, heads, head_dim]."""
        return self.slots(stored, -BANK_FRAMES, 0).view(1, BANK_FRAMES, self.shape.tokens, *stored.shape[2:])


class PassTables:
    """Rotary tables and score bias of forward passes, allocated once and rewritten in place when the values change."""

    def __init__(self, shape: CacheShape, window: int) -> None:
        self._shape, self._window = shape, window
        self._rotary = shape.rotary_table(window)
        self._key_rotary: RotaryTable | None = None
        self._bias: Tensor | None = None
        self._weight: KeyWeight | None = None

    def rotary(self, span: ForwardSpan) -> Rotary:
        """Return the rotary table of the pass's frames."""
        return self._rotary.at(range(span.start, span.start + span.frames))

    def key_rotary(self, span: ForwardSpan) -> Rotary | None:
        """Return the rotary table of the attended slots; None if their keys are stored rotated."""
        if span.key_positions is None:
            return None
        if self._key_rotary is None:
            self._key_rotary = self._shape.rotary_table(self._window)
        return self._key_rotary.at(span.key_positions)

    def bias(self, span: ForwardSpan) -> Tensor | None:
        """Return the bias of the attention scores, [1, 1, 1, attended tokens]: ln(weight) for weighted keys, else 0.

        All queries and heads share the one row, which attention kernels read without expanding it.
        """
        weight, tokens = span.key_weight, self._shape.tokens
        if weight is None:
            return None  # plain attention has faster kernels
        if self._bias is None:
            size = (1, 1, 1, self._window * tokens)
            self._bias = torch.zeros(size, dtype=self._shape.dtype, device=self._shape.device)
        if weight != self._weight:
            self._bias.zero_()
            self._bias[..., weight.first * tokens : weight.end * tokens] = math.log(weight.weight)
            self._weight = weight
        return self._bias[..., : span.end * tokens]
