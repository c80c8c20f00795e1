"""Describes what one forward pass stores in the KV cache and reads from it. Torch-free.

A KV cache is a row of slots, one latent frame each. A pass always reads one contiguous range of slots: the order of
keys does not matter to softmax.
"""

from __future__ import annotations

from dataclasses import dataclass

Write = tuple[int, int, int]
"""Store `length` latent frames of the pass, from `source` on, in the slots from `slot` on: (source, slot, length)."""


@dataclass(frozen=True, slots=True)
class KeyWeight:
    """The keys in slots first .. end - 1 get `weight` times their share of the attention, before normalisation."""

    weight: float
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class ForwardSpan:
    """One forward pass over `frames` latent frames.

    start          rotary position of the first frame.
    writes         frames whose keys and values are stored; the others are query-only.
    first, end     slots first .. end - 1 are attended to. Slots of a memory bank have negative numbers.
    key_positions  rotary positions of the attended slots, whose keys are stored without rotation; None: keys are stored
                   rotated.
    key_weight     None = plain attention.
    """

    start: int
    frames: int
    writes: tuple[Write, ...]
    end: int
    first: int = 0
    key_positions: tuple[int, ...] | None = None
    key_weight: KeyWeight | None = None


@dataclass(frozen=True, slots=True)
class CopySlot:
    """Copy one latent frame of every layer from slot `source` to slot `target`."""

    source: int
    target: int


@dataclass(frozen=True, slots=True)
class FadeIntoSink:
    """Move the sink slots from `sink` on a little towards the `length` frames from `slot` on (a moving average)."""

    slot: int
    sink: int
    length: int


@dataclass(frozen=True, slots=True)
class EvictFromBank:
    """Remove, in every layer, the frame of a full bank whose keys agree least with those of the prompt."""


CacheEdit = CopySlot | FadeIntoSink | EvictFromBank
