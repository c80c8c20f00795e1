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
from scope_batch.engine.rope import Rotary, RotaryTable, rotate
from scope_batch.engine.text_cache import TextCache

SINK_KEEPS, SINK_TAKES = 0.999, 0.001
"""Shares of the old sink and of the frames that leave the window in the new sink."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Keys and values of one latent frame of rows x columns tokens; dtype and device are those of the cache."""

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
        return RotaryTable(self.head_dim, self.rows, self.columns, frames, self.device)


class Attended(NamedTuple):
    """Keys, rotated, and values [1, tokens, heads, head_dim] that a layer attends to.

    bias  added to the scores of all queries, [1, 1, 1, tokens]; None = plain attention.
    """

    keys: Tensor
    values: Tensor
    bias: Tensor | None


class KVCache:
    """One render's cache, allocated once: keys and values of every layer, [1, slots * tokens, heads, head_dim] each.

    Call `reset` at a cut, and `recache_span`, `start_chunk` and `finish_chunk` for every chunk. Run every forward pass
    inside `forward_pass`, where each layer calls `append_and_read` once.
    """

    def __init__(self, policy: CachePolicy, shape: CacheShape, text: TextCache) -> None:
        """text: the prompt's keys, by which a memory bank chooses."""
        size = (1, (policy.bank_slots + policy.window) * shape.tokens, shape.heads, shape.head_dim)
        self.policy, self.shape, self._text = policy, shape, text
        self.keys = [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]
        self.values = [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]
        self.tables = PassTables(shape, policy.window)
        self._pass: tuple[ForwardSpan, Rotary | None, Tensor | None] | None = None

    def reset(self) -> None:
        """Start a new sequence. The slots keep their contents: no pass attends to a slot that it has not written."""
        self.policy.reset()

    def recache_span(self, chunk: Chunk) -> ForwardSpan | None:
        return self.policy.recache_span(chunk)

    def start_chunk(self, chunk: Chunk) -> ForwardSpan:
        """Make room for the chunk; returns the pass of each of its steps."""
        edits, span = self.policy.start_chunk(chunk)
        self._apply(edits)
        return span

    def finish_chunk(self, chunk: Chunk) -> None:
        """Call it after the chunk's last pass, which has stored the final keys and values."""
        self._apply(self.policy.finish_chunk(chunk))

    @contextmanager
    def forward_pass(self, span: ForwardSpan) -> Iterator[Rotary]:
        """Layers store and read by `span` inside the with-body. Yields the rotary table of the pass's frames."""
        assert self._pass is None, "forward passes cannot be nested"
        rotary = self.tables.rotary(span)
        self._pass = span, self.tables.key_rotary(span), self.tables.bias(span)
        try:
            yield rotary
        finally:
            self._pass = None

    def append_and_read(self, layer: int, key: Tensor, value: Tensor, rotary: Rotary) -> Attended:
        """Store the pass's keys, not rotated yet, and values [1, frames * tokens, heads, head_dim].

        rotary  the table that `forward_pass` yielded.
        """
        assert self._pass is not None, "attention runs only inside `forward_pass`"
        span, key_rotary, bias = self._pass
        new_keys = rotate(key, rotary) if key_rotary is None else key
        keys, values, tokens = self.keys[layer], self.values[layer], self.shape.tokens
        for source, slot, length in span.writes:
            new = slice(source * tokens, (source + length) * tokens)
            self.slots(keys, slot, slot + length).copy_(new_keys[:, new])
            self.slots(values, slot, slot + length).copy_(value[:, new])
        attended = self.slots(keys, span.first, span.end)
        if key_rotary is not None:
            attended = rotate(attended, key_rotary)
        return Attended(attended, self.slots(values, span.first, span.end), bias)

    def state(self) -> dict[str, Any]:
        """Keys and values of the slots that later chunks may read, one tensor per layer."""
        kept = self.policy.kept_slots
        keys, values = ([self.slots(stored, *kept) for stored in tensors] for tensors in (self.keys, self.values))
        return {"keys": keys, "values": values, **{f"policy.{name}": n for name, n in self.policy.state().items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.policy.restore({name.removeprefix("policy."): value for name, value in state.items()})
        saved = (*state["keys"], *state["values"])
        for stored, source in zip((*self.keys, *self.values), saved, strict=True):
            overwrite(self.slots(stored, *self.policy.kept_slots), source)

    def slots(self, stored: Tensor, first: int, end: int) -> Tensor:
        """Slots first .. end - 1 of one layer's keys or values, a view."""
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
        """Keep the banked frames whose keys have the highest mean score under the prompt's keys."""
        words = self._text.latest(layer)[0].float().mean(dim=1, keepdim=True)
        frames = self._bank(self.keys[layer]).float().mean(dim=2)
        score = (words * frames).sum(dim=3).mean(dim=2)[0]
        kept = score.topk(BANK_FRAMES - 1).indices
        for stored in (self.keys[layer], self.values[layer]):
            remaining = self._bank(stored).index_select(1, kept)
            self.slots(stored, 1 - BANK_FRAMES, 0).copy_(remaining.flatten(1, 2))

    def _bank(self, stored: Tensor) -> Tensor:
        """The full bank as [1, BANK_FRAMES, tokens, heads, head_dim]."""
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
        """For the frames of the pass."""
        return self._rotary.at(range(span.start, span.start + span.frames))

    def key_rotary(self, span: ForwardSpan) -> Rotary | None:
        """For the attended slots, if their keys are stored without rotation."""
        if span.key_positions is None:
            return None
        if self._key_rotary is None:
            self._key_rotary = self._shape.rotary_table(self._window)
        return self._key_rotary.at(span.key_positions)

    def bias(self, span: ForwardSpan) -> Tensor | None:
        """ln of the key weight for the keys that have it, else 0: [1, 1, 1, attended tokens].

        One row serves all queries and heads, and attention kernels read it without expanding it.
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
