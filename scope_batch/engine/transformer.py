"""Wan's transformer, run causally: diffusers' modules and weights, our forward and our memory.

`CausalWan` is a `WanTransformer3DModel` (so that its loaders, adapters, layerwise casting and offload hooks work) whose
forward takes a span of latent frames at any position and attends through a KV cache. What it shares with the variant
that VACE steers (`vace_transformer.py`) is in `CausalForward`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor

from scope_batch.engine.kv_cache import TextCache
from scope_batch.engine.memory import Memory
from scope_batch.engine.rope import Rotary, rotate


class CachedAttention(WanAttnProcessor):  # type: ignore[misc]  # diffusers is untyped
    """Attention of one layer whose keys and values come from a cache; no mask: every query sees every key."""

    @property
    def score_bias(self) -> Tensor | None:
        """Added to the scores of all queries, [1, 1, 1, keys]."""
        return None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Rotary | None = None,
    ) -> Tensor:
        assert attention_mask is None
        query = split_heads(attn, attn.norm_q(attn.to_q(hidden_states)))
        if rotary_emb is not None:
            query = rotate(query, rotary_emb)
        source = hidden_states if rotary_emb is not None else encoder_hidden_states
        key, value = self.keys_values(attn, source, rotary_emb)
        out = dispatch_attention_fn(query, key, value, attn_mask=self.score_bias, backend=self._attention_backend)
        out = attn.to_out[0](out.flatten(2, 3).type_as(query))
        result: Tensor = attn.to_out[1](out)
        return result

    def keys_values(self, attn: WanAttention, source: Tensor | None, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
        """[1, tokens, heads, head_dim] each, from `source` [1, tokens, dim] or from the cache."""
        raise NotImplementedError


class CachedSelfAttention(CachedAttention):
    """Self-attention over everything the memory holds, this pass included."""

    def __init__(self, layer: int, memory: Memory) -> None:
        super().__init__()
        self.layer, self.memory = layer, memory

    @property
    def score_bias(self) -> Tensor | None:
        return self.memory.score_bias

    def keys_values(self, attn: WanAttention, source: Tensor | None, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
        assert source is not None and rotary is not None
        key = split_heads(attn, attn.norm_k(attn.to_k(source)))
        return self.memory.attended(self.layer, key, split_heads(attn, attn.to_v(source)), rotary)


class CachedTextAttention(CachedAttention):
    """Cross-attention to the prompt; its keys and values are computed in the first pass under that prompt."""

    def __init__(self, layer: int, cache: TextCache) -> None:
        super().__init__()
        self.layer, self.cache = layer, cache

    def keys_values(self, attn: WanAttention, source: Tensor | None, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
        assert rotary is None, "a prompt has no positions"
        cached = self.cache.get(self.layer)
        if cached is not None:
            return cached
        assert source is not None, "the prompt must be given in the first pass under it"
        key = split_heads(attn, attn.norm_k(attn.to_k(source)))
        return self.cache.put(self.layer, key, split_heads(attn, attn.to_v(source)))


def split_heads(attn: WanAttention, x: Tensor) -> Tensor:
    """[1, tokens, dim] -> [1, tokens, heads, head_dim]."""
    split: Tensor = x.unflatten(2, (attn.heads, -1))
    return split


class Control(Protocol):
    """What steers a chunk's denoising passes from outside the blocks."""

    @property
    def knows_prompt(self) -> bool:
        """No pass under the current prompt is missing: `hints` does without its `context`."""
        ...

    def hints(self, hidden: Tensor, context: Tensor | None, modulation: Tensor) -> Iterator[tuple[int, Tensor, float]]:
        """(layer after which it is added, hint [1, tokens, dim], strength) in order, each made when it is asked for.

        hidden      the pass's patches [1, tokens, dim], before any layer; not to be changed.
        context     the prompt [1, 512, dim].
        modulation  [1, 6, dim].
        """
        ...


class CausalForward:
    """The causal forward over the modules of a diffusers Wan transformer, which a subclass brings along."""

    blocks: Any
    condition_embedder: Any
    patch_embedding: Any
    norm_out: Any
    proj_out: Any
    scale_shift_table: Any
    config: Any
    _text: TextCache

    def attach(self, memory: Memory, text: TextCache) -> None:
        """Let every layer's attention use these from now on."""
        for layer, block in enumerate(self.blocks):
            block.attn1.set_processor(CachedSelfAttention(layer, memory))
            block.attn2.set_processor(CachedTextAttention(layer, text))
        self._text = text

    def detach(self) -> None:
        """Let go of the caches, so that their memory is free."""
        for block in self.blocks:
            block.attn1.set_processor(WanAttnProcessor())
            block.attn2.set_processor(WanAttnProcessor())
        del self._text

    def embed_time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Timestep [1] in 0..1000 -> (embedding [1, dim], modulation [1, 6, dim])."""
        embedder = self.condition_embedder
        table = embedder.timesteps_proj(timestep)
        embedding = embedder.time_embedder(table.to(embedder.time_embedder.linear_1.weight.dtype))
        embedding = embedding.to(self.patch_embedding.weight.dtype)
        modulation = embedder.time_proj(embedder.act_fn(embedding)).unflatten(1, (6, -1))
        return embedding, modulation

    def forward(
        self,
        latents: Tensor,
        time: tuple[Tensor, Tensor],
        prompt: Tensor,
        rotary: Rotary,
        *,
        control: Control | None = None,
        predict: bool = True,
    ) -> Tensor | None:
        """One pass.

        latents  [1, F, 16, h, w].
        time     from `embed_time`; one timestep for all frames.
        prompt   [1, 512, text_dim]; read only while a text cache that the pass needs is empty.
        rotary   for the pass's latent frames.
        control  VACE's part, of denoising passes only.
        Returns the flow [1, F, 16, h, w], or None when only the caches are wanted (`predict=False`).
        """
        _, frames, _, height, width = latents.shape
        weight = self.patch_embedding.weight
        hidden = tokens_of(self.patch_embedding(latents.transpose(1, 2).to(weight.dtype)))
        known = self._text.filled and (control is None or control.knows_prompt)
        context = None if known else self.condition_embedder.text_embedder(prompt.to(weight.dtype))
        embedding, modulation = time
        hints = iter(()) if control is None else control.hints(hidden, context, modulation)
        due = next(hints, None)
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, context, modulation, rotary)
            if due is not None and due[0] == layer:
                hidden.add_(due[1], alpha=due[2])
                due = next(hints, None)
        return self._head(hidden, embedding, (frames, height, width)) if predict else None

    def _head(self, hidden: Tensor, embedding: Tensor, shape: tuple[int, int, int]) -> Tensor:
        shift, scale = (self.scale_shift_table + embedding.unsqueeze(1)).chunk(2, dim=1)
        hidden = (self.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden)
        return unpatchify(self.proj_out(hidden), shape, self.config.patch_size)


class CausalWan(CausalForward, WanTransformer3DModel):  # type: ignore[misc]  # diffusers is untyped
    """Wan 2.1's transformer over latent frames that continue what its caches hold. Eager use needs `attach` first."""


def tokens_of(grid: Tensor) -> Tensor:
    """[1, dim, F, h/2, w/2] -> [1, F * h/2 * w/2, dim]."""
    return grid.flatten(2).transpose(1, 2).contiguous()


def unpatchify(tokens: Tensor, shape: tuple[int, int, int], patch: Any) -> Tensor:
    """[1, F * h/2 * w/2, 64] -> [1, F, 16, h, w]; channels vary fastest inside a token."""
    frames, height, width = shape
    _, p_h, p_w = patch
    grid = tokens.unflatten(1, (frames, height // p_h, width // p_w)).unflatten(-1, (p_h, p_w, -1))
    return torch.einsum("nfhwpqc->nfchpwq", grid).flatten(5, 6).flatten(3, 4)
