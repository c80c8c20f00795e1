"""Decides which latent frames self-attention caches, in which slots, and at which rotary positions. Torch-free.

A policy works on plain integers; `kv_cache.KVCache` stores and reads as the policy decides. Every pipeline has its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from scope_batch.core import geometry
from scope_batch.core.plan import Chunk
from scope_batch.engine.forward_span import (
    CacheEdit,
    CopySlot,
    EvictFromBank,
    FadeIntoSink,
    ForwardSpan,
    KeyWeight,
)
from scope_batch.engine.rolling_window import RollingWindow
from scope_batch.pipelines import PipelineSpec


class CachePolicy(Protocol):
    """Call once per chunk, in this order: `reset` at a cut, `recache_span`, `start_chunk`, `finish_chunk`.

    window      number of slots from slot 0 on.
    bank_slots  number of slots before slot 0, for a memory bank.
    kept_slots  (first, end) of the slots that later chunks may read. The contents of all others need not be saved.
    """

    @property
    def window(self) -> int: ...
    @property
    def bank_slots(self) -> int: ...
    @property
    def kept_slots(self) -> tuple[int, int]: ...

    def reset(self) -> None:
        """Start a new sequence."""
        ...

    def recache_span(self, chunk: Chunk) -> ForwardSpan | None:
        """Return the pass that recomputes cached keys and values before the chunk; None if none is required."""
        ...

    def start_chunk(self, chunk: Chunk) -> tuple[tuple[CacheEdit, ...], ForwardSpan]:
        """Return the edits that make room for the chunk, and the pass that every denoising step runs."""
        ...

    def finish_chunk(self, chunk: Chunk) -> tuple[CacheEdit, ...]:
        """Return the edits to apply when the cache holds the clean chunk."""
        ...

    def state(self) -> dict[str, int]:
        """Return the policy's counters by name; the same names throughout a render."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


def policy_of(spec: PipelineSpec, *, bank: bool) -> CachePolicy:
    """Create the policy of a pipeline. bank: with a memory bank."""
    if spec.memory == "context":
        return ContextPolicy(spec.window)
    window = RollingWindow(spec.window, spec.sink)
    if bank:
        return BankPolicy(window, spec.block)
    return RelativePolicy(window) if spec.memory == "relative" else RollingPolicy(window)


class RollingPolicy:
    """A sink and a rolling window. Keys are stored rotated by the position of their frame in the sequence."""

    bank_slots = 0

    def __init__(self, window: RollingWindow) -> None:
        self._rolling, self.window = window, window.size
        self.reset()

    def reset(self) -> None:
        self._end = 0

    @property
    def kept_slots(self) -> tuple[int, int]:
        return 0, min(self._end, self.window)

    def recache_span(self, chunk: Chunk) -> ForwardSpan | None:
        return self._rolling.recache_span(chunk.start_latent) if chunk.recache else None

    def start_chunk(self, chunk: Chunk) -> tuple[tuple[CacheEdit, ...], ForwardSpan]:
        self._end = chunk.start_latent + chunk.latents
        return (), self._rolling.chunk_span(chunk.start_latent, chunk.latents)

    def finish_chunk(self, chunk: Chunk) -> tuple[CacheEdit, ...]:  # noqa: ARG002  (see `CachePolicy`)
        return ()

    def state(self) -> dict[str, int]:
        return {"end": self._end}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._end = state["end"]


class RelativePolicy:
    """A sink and a rolling window with relative positions. Frames that leave the window fade into the sink.

    Keys are stored without rotation. In every pass the attended slots get the positions 0, 1, 2 ...: first the sink,
    then the window from oldest to newest, last the frames of the pass. So positions never exceed the window.
    `PipelineSpec` ensures that a chunk has as many latent frames as the sink.
    """

    bank_slots = 0

    def __init__(self, window: RollingWindow) -> None:
        self._window, self._rolling = window, RollingPolicy(window)
        self.window = window.size

    def reset(self) -> None:
        self._rolling.reset()

    @property
    def kept_slots(self) -> tuple[int, int]:
        return self._rolling.kept_slots

    def recache_span(self, chunk: Chunk) -> None:
        assert not chunk.recache, "faded sink frames cannot be recomputed"

    def start_chunk(self, chunk: Chunk) -> tuple[tuple[CacheEdit, ...], ForwardSpan]:
        _, span = self._rolling.start_chunk(chunk)
        end = chunk.start_latent + chunk.latents
        edits: tuple[CacheEdit, ...] = ()
        if end > self.window:
            assert span.frames == self._window.sink
            edits = tuple(FadeIntoSink(slot, source, length) for source, slot, length in span.writes)
        return edits, replace(span, start=span.end - span.frames, key_positions=self._window.positions(end))

    def finish_chunk(self, chunk: Chunk) -> tuple[CacheEdit, ...]:
        return self._rolling.finish_chunk(chunk)

    def state(self) -> dict[str, int]:
        return self._rolling.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._rolling.restore(state)


class BankPolicy:
    """A rolling window and a memory bank, which keeps a few frames that have left the window.

    The bank occupies the slots before slot 0. Every third chunk is recorded: its first frame is copied to the slot
    `RECORDED`, and the next chunk moves it into the bank. A full bank evicts the frame whose keys agree least with the
    prompt's keys.
    """

    RECORD_EVERY = 3
    RECORDED = -geometry.BANK_SLOTS
    bank_slots = geometry.BANK_SLOTS

    def __init__(self, window: RollingWindow, block: int) -> None:
        """block: latent frames per chunk."""
        self._window, self._rolling, self._block = window, RollingPolicy(window), block
        self.window = window.size
        self.reset()

    def reset(self) -> None:
        self._rolling.reset()
        self._banked, self._recorded = 0, False

    @property
    def kept_slots(self) -> tuple[int, int]:
        first, end = self._rolling.kept_slots
        return (-self.bank_slots if self._banked or self._recorded else first), end

    def recache_span(self, chunk: Chunk) -> ForwardSpan | None:
        span = self._rolling.recache_span(chunk)
        return span and replace(span, first=-self._banked)

    def start_chunk(self, chunk: Chunk) -> tuple[tuple[CacheEdit, ...], ForwardSpan]:
        edits = self._insert() if self._recorded else ()
        # A chunk that will be recorded itself does not attend to the newest frame of the bank.
        attended = max(self._banked - 1, 0) if self._records(chunk) else self._banked
        return edits, replace(self._rolling.start_chunk(chunk)[1], first=-attended)

    def finish_chunk(self, chunk: Chunk) -> tuple[CacheEdit, ...]:
        if not self._records(chunk):
            return ()
        self._recorded = True
        return (CopySlot(self._window.slot(chunk.start_latent), self.RECORDED),)

    def _records(self, chunk: Chunk) -> bool:
        """Return True for every third chunk of a sequence.

        Chunks are counted by their first latent frame. In video mode the second chunk starts one frame later.
        """
        return chunk.start_latent // self._block % self.RECORD_EVERY == 0

    def _insert(self) -> tuple[CacheEdit, ...]:
        """Move the recorded frame into the bank, and count it."""
        self._recorded = False
        full = self._banked == geometry.BANK_FRAMES
        self._banked += int(not full)
        return (*((EvictFromBank(),) if full else ()), CopySlot(self.RECORDED, -self._banked))

    def state(self) -> dict[str, int]:
        return {**self._rolling.state(), "banked": self._banked, "recorded": int(self._recorded)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._rolling.restore(state)
        self._banked, self._recorded = state["banked"], bool(state["recorded"])


class ContextPolicy:
    """Recomputes a context of three latent frames before every chunk but a sequence's first, and keeps nothing else.

    The context always has the positions 0, 1, 2, and the chunk follows. So all keys are computed under the current
    prompt. The chunk's attention bias is the weight of the context's keys, except for those of its first frame, which
    anchors the picture.
    """

    bank_slots = 0
    kept_slots = (0, 0)

    def __init__(self, window: int) -> None:
        self.window = window

    def reset(self) -> None:
        """Do nothing: the policy has no counters."""

    def recache_span(self, chunk: Chunk) -> ForwardSpan | None:
        return None if chunk.start_latent == 0 else _in_order(0, geometry.CONTEXT_LATENTS)

    def start_chunk(self, chunk: Chunk) -> tuple[tuple[CacheEdit, ...], ForwardSpan]:
        span = _in_order(geometry.CONTEXT_LATENTS if chunk.start_latent else 0, chunk.latents)
        assert chunk.attention_bias is not None
        if chunk.attention_bias == 1 or span.start <= 1:
            return (), span
        return (), replace(span, key_weight=KeyWeight(chunk.attention_bias, 1, span.start))

    def finish_chunk(self, chunk: Chunk) -> tuple[CacheEdit, ...]:  # noqa: ARG002  (see `CachePolicy`)
        return ()

    def state(self) -> dict[str, int]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing: the policy has no counters."""


def _in_order(start: int, frames: int) -> ForwardSpan:
    """Return a pass that stores every frame in the slot of its position, and attends to all slots up to its end."""
    return ForwardSpan(start, frames, ((0, start, frames),), start + frames)
