"""A rolling memory with a bank: a few frames that have left the window, chosen by what the prompt asks for."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from scope_batch.chunk import Chunk
from scope_batch.engine.kv_cache import CacheSize, Pass, TextCache
from scope_batch.engine.rolling import RollingMemory, RollingWindow
from scope_batch.laws import BANK_FRAMES, BANK_SLOTS

RECORD_EVERY = 3
"""Of so many chunks the first frame of one is recorded."""
RECORDED = -BANK_SLOTS
"""The slot of the latest recording, until the next chunk takes it into the bank."""


class BankedMemory(RollingMemory):
    """The bank lies in the slots before 0, the newest frame first. See `memory.Memory`.

    A frame enters it with the chunk after the one that recorded it. A full bank first gives up the frame whose keys
    agree least with those of the prompt.
    """

    def __init__(self, window: RollingWindow, size: CacheSize, text: TextCache, block: int) -> None:
        """block: latent frames per chunk."""
        super().__init__(window, size, ahead=BANK_SLOTS)
        self._text, self._block = text, block
        self.forget()

    def forget(self) -> None:
        self._banked, self._waiting = 0, False

    def renewal(self, chunk: Chunk) -> Pass | None:
        here = super().renewal(chunk)
        return here and replace(here, first=-self._banked)

    def begin(self, chunk: Chunk) -> Pass:
        if self._waiting:
            self._insert()
        # A chunk that records does without the newest.
        shown = max(self._banked - 1, 0) if self._records(chunk) else self._banked
        return replace(super().begin(chunk), first=-shown)

    def end(self, chunk: Chunk) -> None:
        if not self._records(chunk):
            return
        slot = self.window.slot(chunk.start_latent)
        for stored in (*self.keys, *self.values):
            self.slots(stored, RECORDED, RECORDED + 1).copy_(self.slots(stored, slot, slot + 1))
        self._waiting = True

    def _records(self, chunk: Chunk) -> bool:
        """Chunks of one sequence are counted by their first latent frame (one of video starts a frame late)."""
        return chunk.start_latent // self._block % RECORD_EVERY == 0

    def _insert(self) -> None:
        self._waiting = False
        if self._banked == BANK_FRAMES:
            for layer in range(self.size.layers):
                self._drop_one(layer)
            self._banked -= 1
        self._banked += 1
        for stored in (*self.keys, *self.values):
            self.slots(stored, -self._banked, 1 - self._banked).copy_(self.slots(stored, RECORDED, RECORDED + 1))

    def _drop_one(self, layer: int) -> None:
        kept = self._agreement(layer).topk(BANK_FRAMES - 1).indices
        for stored in (self.keys[layer], self.values[layer]):
            frames = self._frames(stored).index_select(1, kept)
            self.slots(stored, 1 - BANK_FRAMES, 0).copy_(frames.flatten(1, 2))

    def _agreement(self, layer: int) -> Tensor:
        """Mean score of the bank's keys under the prompt's keys, over words, tokens and heads: [BANK_FRAMES]."""
        words = self._text.latest(layer)[0].float().mean(dim=1, keepdim=True)
        frames = self._frames(self.keys[layer]).float().mean(dim=2)
        score: Tensor = (words * frames).sum(dim=3).mean(dim=2)[0]
        return score

    def _frames(self, stored: Tensor) -> Tensor:
        """The bank as [1, BANK_FRAMES, tokens, heads, head_dim]."""
        return self.slots(stored, -BANK_FRAMES, 0).view(1, BANK_FRAMES, self.size.tokens, *stored.shape[2:])
