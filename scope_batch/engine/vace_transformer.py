"""Runs Wan's transformer with VACE: extra blocks turn the noisy chunk and its context into hints for the main blocks.

The VACE blocks process each chunk separately: positions start at 0, attention covers the chunk alone, and only the
prompt's keys and values are cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusers import WanVACETransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor

from scope_batch.engine.kv_cache import KVCache
from scope_batch.engine.rope import Rotary
from scope_batch.engine.text_cache import TextCache
from scope_batch.engine.transformer import (
    CachedCrossAttention,
    CausalForward,
    NormaliseAndRotate,
    attend,
    tokens_of,
)


class ChunkSelfAttention(WanAttnProcessor):  # type: ignore[misc]  # diffusers is untyped
    """Self-attention within the chunk: every token attends to every token, and nothing is cached."""

    def __init__(self, rotated: NormaliseAndRotate) -> None:
        super().__init__()
        self.rotated = rotated

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Rotary | None = None,
    ) -> Tensor:
        assert encoder_hidden_states is None and attention_mask is None and rotary_emb is not None
        query = self.rotated(attn.norm_q, attn.to_q(hidden_states), attn.heads, rotary_emb)
        key = self.rotated(attn.norm_k, attn.to_k(hidden_states), attn.heads, rotary_emb)
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1))
        return attend(attn, query, key, value, backend=self._attention_backend)


class CausalVaceWan(CausalForward, WanVACETransformer3DModel):  # type: ignore[misc]  # diffusers is untyped
    """`CausalWan` with a VACE module; without a control it computes what `CausalWan` computes."""

    vace_blocks: Any
    vace_patch_embedding: Any
    _vace_text: TextCache

    def attach(self, cache: KVCache, text: TextCache) -> None:
        super().attach(cache, text)
        self._vace_text = text.linked(len(self.vace_blocks))
        for index, block in enumerate(self.vace_blocks):
            block.attn1.set_processor(ChunkSelfAttention(self.rotated))
            block.attn2.set_processor(CachedCrossAttention(index, self._vace_text, self.rotated))

    def detach(self) -> None:
        super().detach()
        for block in self.vace_blocks:
            block.attn1.set_processor(WanAttnProcessor())
            block.attn2.set_processor(WanAttnProcessor())
        del self._vace_text

    def control(self, context: Tensor, frames: int, rotary: Rotary, scale: float) -> VaceControl:
        """Embed `context` [1, 96, Fc, h, w] as the control of a chunk of `frames` latent frames.

        Latent frames of the context beyond `frames` are dropped; missing ones become zero tokens.
        rotary  table of positions 0 .. frames - 1.
        scale   strength of the hints, 0..2.
        """
        weight = self.vace_patch_embedding.weight
        tokens = tokens_of(self.vace_patch_embedding(context[:, :, :frames].to(weight.dtype)))
        per_frame = tokens.shape[1] // min(frames, context.shape[2])
        padded = tokens.new_zeros(1, frames * per_frame, tokens.shape[2])
        padded[:, : tokens.shape[1]] = tokens
        blocks = dict(zip(self.config.vace_layers, self.vace_blocks, strict=True))
        return VaceControl(blocks, self._vace_text, padded, rotary, scale)


@dataclass(frozen=True, slots=True)
class VaceControl:
    """The VACE control of one chunk; implements `transformer.Control`.

    blocks  VACE blocks, by the main layer after which the hint of each is added.
    tokens  the embedded context [1, tokens, dim].
    """

    blocks: Mapping[int, Any]
    text: TextCache
    tokens: Tensor
    rotary: Rotary
    scale: float

    @property
    def text_cached(self) -> bool:
        return self.text.valid

    def start_pass(self, hidden: Tensor, context: Tensor | None, modulation: Tensor) -> VaceHints:
        return VaceHints(self, hidden, context, modulation, self.tokens)


@dataclass(slots=True)
class VaceHints:
    """The VACE hints of one pass; implements `transformer.Hints`.

    state  hidden states that one VACE block passes to the next, [1, tokens, dim].
    """

    control: VaceControl
    hidden: Tensor
    context: Tensor | None
    modulation: Tensor
    state: Tensor

    def after(self, layer: int, hidden: Tensor) -> None:
        block = self.control.blocks.get(layer)
        if block is not None:
            hint, self.state = block(self.hidden, self.context, self.state, self.modulation, self.control.rotary)
            hidden.add_(hint, alpha=self.control.scale)
