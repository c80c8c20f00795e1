"""A memory that lasts for one chunk: the context is put through the transformer anew before each one."""

from __future__ import annotations

from scope_batch import laws
from scope_batch.chunk import Chunk
from scope_batch.engine.attention_bias import score_bias
from scope_batch.engine.kv_cache import KVCache, Pass


class ContextMemory(KVCache):
    """The context always has positions 0, 1, 2 and the chunk those after it, however long the sequence is.

    So keys are never older than the prompt in force. See `memory.Memory`.
    """

    def forget(self) -> None:
        """Nothing to do: a sequence attends to no slot that it has not written."""

    def renewal(self, chunk: Chunk) -> Pass | None:
        return None if chunk.start_latent == 0 else _pass(0, laws.CONTEXT_LATENTS)

    def begin(self, chunk: Chunk) -> Pass:
        context = laws.CONTEXT_LATENTS if chunk.start_latent else 0
        here = _pass(context, chunk.latents)
        assert chunk.attention_bias is not None
        tokens, size = self.size.tokens, self.size
        # Without the first latent frame of the context, which anchors the picture, and without the chunk itself.
        self.score_bias = score_bias(
            chunk.attention_bias, tokens, context * tokens, here.attend * tokens, dtype=size.dtype, device=size.device
        )
        return here

    def end(self, chunk: Chunk) -> None:  # noqa: ARG002  (every memory is told which chunk ends)
        """What the passes have left is not read again, and the context has no weight of its own."""
        self.score_bias = None


def _pass(start: int, frames: int) -> Pass:
    """Every frame is stored in the slot of its position, and sees all before it and all beside it."""
    return Pass(start, frames, ((0, start, frames),), start + frames)
