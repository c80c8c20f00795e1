"""What self-attention remembers of a sequence: the one place where pipelines differ by more than numbers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from scope_batch.chunk import Chunk
from scope_batch.engine.context_memory import ContextMemory
from scope_batch.engine.kv_cache import CacheSize, Pass, TextCache
from scope_batch.engine.memory_bank import BankedMemory
from scope_batch.engine.relative import RelativeMemory
from scope_batch.engine.rolling import RollingMemory, RollingWindow
from scope_batch.engine.rope import Rotary, RotaryTable
from scope_batch.pipelines import PipelineSpec


class Memory(Protocol):
    """Asked once per chunk, in this order: `forget` at a cut, `renewal`, `begin`, `end`. In every pass in between
    `current` is that pass, and each layer stores and reads through `attended`; `score_bias` is added to its scores.
    """

    current: Pass | None
    score_bias: Tensor | None

    def forget(self) -> None:
        """The sequence starts anew."""
        ...

    def renewal(self, chunk: Chunk) -> Pass | None:
        """The pass that renews the past before the chunk; None = it stays as it is."""
        ...

    def begin(self, chunk: Chunk) -> Pass:
        """Make room for the chunk. The pass that each of its steps takes."""
        ...

    def end(self, chunk: Chunk) -> None:
        """The chunk is clean, and what the last pass stored of it is final."""
        ...

    def attended(self, layer: int, key: Tensor, value: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Store the pass's keys, not rotated yet, and values [1, frames * tokens, heads, head_dim].

        Returns the keys, rotated, and the values of all that is attended to.
        """
        ...


def open_memory(spec: PipelineSpec, size: CacheSize, rotary: RotaryTable, text: TextCache, *, bank: bool) -> Memory:
    """The memory that a pipeline's sequences have. bank: with a memory bank."""
    if spec.memory == "context":
        return ContextMemory(spec.window, size)
    window = RollingWindow(spec.window, spec.sink)
    if bank:
        return BankedMemory(window, size, text, spec.block)
    if spec.memory == "relative":
        return RelativeMemory(window, size, rotary)
    return RollingMemory(window, size)
