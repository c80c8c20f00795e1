"""Describes what one forward pass stores in the KV cache and reads from it. Torch-free.

A KV cache is a row of slots with one latent frame each. A pass reads one contiguous range of slots. The frames in it
need not be in order, because the order of keys does not change the result of attention.
"""

from __future__ import annotations

from dataclasses import dataclass

Write = tuple[int, int, int]
"""(source, slot, length): store latent frames source .. source + length - 1 of the pass in the slots from `slot` on."""


@dataclass(frozen=True, slots=True)
class KeyWeight:
    """Multiplies the attention that keys in slots first .. end - 1 get by `weight`, before normalisation."""

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
    """Blend `length` slots from `slot` on into the sink slots from `sink` on, as an exponential moving average."""

    slot: int
    sink: int
    length: int


@dataclass(frozen=True, slots=True)
class EvictFromBank:
    """Remove from a full bank, in every layer, the frame whose keys agree least with the prompt's keys."""


CacheEdit = CopySlot | FadeIntoSink | EvictFromBank
