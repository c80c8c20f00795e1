"""Runs Wan's transformer with VACE: extra blocks turn the noisy chunk and its context into hints for the main blocks.

The VACE blocks see one chunk alone: positions start at 0, attention covers the whole chunk, and nothing is cached but
the prompt's keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diffusers import WanVACETransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor

from scope_batch.engine.kv_cache import TextCache
from scope_batch.engine.memory import Memory
from scope_batch.engine.rope import Rotary, rotate
from scope_batch.engine.transformer import (
    CachedAttention,
    CachedTextAttention,
    CausalForward,
    split_heads,
    tokens_of,
)


class ChunkAttention(CachedAttention):
    """Self-attention inside the pass: every token of the chunk sees every other, and nothing else."""

    def keys_values(self, attn: WanAttention, source: Tensor | None, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
        assert source is not None and rotary is not None
        key = rotate(split_heads(attn, attn.norm_k(attn.to_k(source))), rotary)
        return key, split_heads(attn, attn.to_v(source))


class CausalVaceWan(CausalForward, WanVACETransformer3DModel):  # type: ignore[misc]  # diffusers is untyped
    """`CausalWan` with a VACE module; without a control it computes what `CausalWan` computes."""

    vace_blocks: Any
    vace_patch_embedding: Any
    _vace_text: TextCache

    def attach(self, memory: Memory, text: TextCache) -> None:
        super().attach(memory, text)
        self._vace_text = text.beside(len(self.vace_blocks))
        for j, block in enumerate(self.vace_blocks):
            block.attn1.set_processor(ChunkAttention())
            block.attn2.set_processor(CachedTextAttention(j, self._vace_text))

    def detach(self) -> None:
        super().detach()
        for block in self.vace_blocks:
            block.attn1.set_processor(WanAttnProcessor())
            block.attn2.set_processor(WanAttnProcessor())
        del self._vace_text

    def control(self, context: Tensor, frames: int, rotary: Rotary, scale: float) -> VaceControl:
        """A chunk of `frames` latent frames steered by `context` [1, 96, Fc, h, w].

        Latent frames of the context beyond the chunk's are left out; missing ones become zero tokens.
        rotary  for `frames` latent frames, from 0 on.
        scale   strength of the hints.
        """
        weight = self.vace_patch_embedding.weight
        tokens = tokens_of(self.vace_patch_embedding(context[:, :, :frames].to(weight.dtype)))
        per_frame = tokens.shape[1] // min(frames, context.shape[2])
        padded = tokens.new_zeros(1, frames * per_frame, tokens.shape[2])
        padded[:, : tokens.shape[1]] = tokens
        layers = tuple(zip(self.config.vace_layers, self.vace_blocks, strict=True))
        return VaceControl(layers, self._vace_text, padded, rotary, scale)


@dataclass(frozen=True, slots=True)
class VaceControl:
    """See `transformer.Control`. layers: (main layer, VACE block to hint after it). tokens [1, tokens, dim]."""

    layers: tuple[tuple[int, Any], ...]
    text: TextCache
    tokens: Tensor
    rotary: Rotary
    scale: float

    @property
    def knows_prompt(self) -> bool:
        return self.text.filled

    def hints(self, hidden: Tensor, context: Tensor | None, modulation: Tensor) -> Iterator[tuple[int, Tensor, float]]:
        state = self.tokens
        for layer, block in self.layers:
            hint, state = block(hidden, context, state, modulation, self.rotary)
            yield layer, hint, self.scale
