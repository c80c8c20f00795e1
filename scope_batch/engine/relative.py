"""A rolling memory without absolute positions: what leaves the window fades into the sink."""

from __future__ import annotations

from torch import Tensor

from scope_batch.chunk import Chunk
from scope_batch.engine.kv_cache import CacheSize, Pass
from scope_batch.engine.rolling import RollingMemory, RollingWindow
from scope_batch.engine.rope import Rotary, RotaryTable, rotate

SINK_KEEPS, SINK_TAKES = 0.999, 0.001
"""Shares of the sink and of the chunk that leaves the window in the sink that follows."""


class RelativeMemory(RollingMemory):
    """Keys are stored without rotation. In every pass what is attended to counts from position 0 on, sink first, then
    the window in time order; the pass's own frames come last. So positions never grow. See `memory.Memory`.
    """

    def __init__(self, window: RollingWindow, size: CacheSize, rotary: RotaryTable) -> None:
        super().__init__(window, size)
        self._table = rotary
        self._keys_rotary: Rotary | None = None

    def begin(self, chunk: Chunk) -> Pass:
        here = super().begin(chunk)
        end = chunk.start_latent + chunk.latents
        if end > self.window.window:
            self._fold(here)
        self._keys_rotary = self._table.at(self.window.places(end))
        return Pass(here.attend - here.frames, here.frames, here.writes, here.attend)

    def end(self, chunk: Chunk) -> None:  # noqa: ARG002  (nothing of it)
        self._keys_rotary = None  # as large as a pass's own, and of no use to the next chunk

    def attended(self, layer: int, key: Tensor, value: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:  # noqa: ARG002  (the keys' own is wider)
        assert self._keys_rotary is not None, "a chunk must have begun"
        keys, values = self.update(layer, key, value)
        return rotate(keys, self._keys_rotary), values

    def _fold(self, here: Pass) -> None:
        """A moving average of the sink and the frames that `here` is about to overwrite, in the dtype of storage."""
        assert here.frames == self.window.sink, f"{here.frames} frames leave the window, the sink has another number"
        for stored in (*self.keys, *self.values):
            for source, slot, length in here.writes:
                leaving = self.slots(stored, slot, slot + length)
                self.slots(stored, source, source + length).mul_(SINK_KEEPS).add_(leaving * SINK_TAKES)
