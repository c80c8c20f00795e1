"""Runs Wan's transformer causally, with diffusers' modules and weights but another forward and other attention.

`CausalWan` is a `WanTransformer3DModel`, so that diffusers' adapters, layerwise casting and hooks work. Its forward
takes latent frames at any position and attends through a KV cache. `vace_transformer.py` has the variant with VACE,
which shares `CausalForward`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor

from scope_batch.engine.kv_cache import Attended, KVCache
from scope_batch.engine.rope import Rotary, rotate
from scope_batch.engine.text_cache import TextCache

NormaliseAndRotate = Callable[[Any, Tensor, int, Rotary | None], Tensor]
"""Takes a norm (None: none), rows [1, tokens, dim], the number of heads and a rotary table (None: no rotation). Returns
[1, tokens, heads, head_dim]. `normalise_and_rotate`, or the same as one kernel."""


FullAttention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Lets every query attend to every key: queries, keys, values and result are [1, tokens, heads, head_dim]."""


def normalise_and_rotate(norm: Any, x: Tensor, heads: int, rotary: Rotary | None) -> Tensor:
    """See `NormaliseAndRotate`."""
    split: Tensor = (x if norm is None else norm(x)).unflatten(2, (heads, -1))
    return split if rotary is None else rotate(split, rotary)


class CachedSelfAttention(WanAttnProcessor):  # type: ignore[misc]  # diffusers is untyped
    """Self-attention of one layer over the frames in the KV cache, which include those of the pass."""

    def __init__(
        self, layer: int, cache: KVCache, rotated: NormaliseAndRotate, attention: FullAttention | None
    ) -> None:
        super().__init__()
        self.layer, self.cache, self.rotated, self.attention = layer, cache, rotated, attention

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
        keys, values, bias, stored_rotary = self.store(attn, hidden_states, rotary_emb)
        if stored_rotary is not None:
            keys = self.rotated(None, keys.flatten(2), attn.heads, stored_rotary)
        if bias is None and self.attention is not None:
            return project_out(attn, self.attention(query, keys, values))
        return attend(attn, query, keys, values, bias, backend=self._attention_backend)

    def store(self, attn: WanAttention, hidden_states: Tensor, rotary: Rotary) -> Attended:
        """Store the keys and values of `hidden_states` [1, tokens, dim], and return all that they attend to."""
        key_rotary = rotary if self.cache.stores_rotated else None
        key = self.rotated(attn.norm_k, attn.to_k(hidden_states), attn.heads, key_rotary)
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1))
        return self.cache.append_and_read(self.layer, key, value)


class CachedCrossAttention(WanAttnProcessor):  # type: ignore[misc]  # diffusers is untyped
    """Cross-attention of one layer to the prompt. The prompt's keys and values are computed once and then cached."""

    def __init__(self, layer: int, cache: TextCache, rotated: NormaliseAndRotate) -> None:
        super().__init__()
        self.layer, self.cache, self.rotated = layer, cache, rotated

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Rotary | None = None,
    ) -> Tensor:
        assert attention_mask is None and rotary_emb is None, (
            "cross-attention takes neither a mask nor rotary positions"
        )
        query = self.rotated(attn.norm_q, attn.to_q(hidden_states), attn.heads, None)
        cached = self.cache.get(self.layer)
        if cached is None:
            assert encoder_hidden_states is not None, "the prompt is required while its keys and values are not cached"
            key = self.rotated(attn.norm_k, attn.to_k(encoder_hidden_states), attn.heads, None)
            value = attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1))
            cached = self.cache.put(self.layer, key, value)
        return attend(attn, query, *cached, backend=self._attention_backend)


def attend(
    attn: WanAttention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, *, backend: Any
) -> Tensor:
    """Return attention and output projection, [1, tokens, dim]. Every query attends to every key.

    bias  see `kv_cache.Attended`.
    """
    return project_out(attn, dispatch_attention_fn(query, key, value, attn_mask=bias, backend=backend).type_as(query))


def project_out(attn: WanAttention, attended: Tensor) -> Tensor:
    """Project [1, tokens, heads, head_dim] to [1, tokens, dim]."""
    result: Tensor = attn.to_out[1](attn.to_out[0](attended.flatten(2, 3)))
    return result


class Control(Protocol):
    """Steers a chunk's denoising passes from outside the blocks."""

    @property
    def text_cached(self) -> bool:
        """True if the control has cached the prompt's keys and values, so that `start_pass` needs no `context`."""
        ...

    def start_pass(self, hidden: Tensor, context: Tensor | None, modulation: Tensor) -> Hints:
        """Return the hints of one pass.

        hidden      the embedded patches [1, tokens, dim] before the first layer; they are not changed.
        context     the embedded prompt [1, 512, dim]; None if it is cached.
        modulation  of the timestep, [1, 6, dim].
        """
        ...


class Hints(Protocol):
    """Adds to the hidden states of one pass, layer by layer."""

    def after(self, layer: int, hidden: Tensor) -> None:
        """Add the layer's hint, if there is one, to `hidden` [1, tokens, dim]. Call it after every layer, in order."""
        ...


class CausalForward:
    """The causal forward pass. Subclasses inherit the modules from one of diffusers' Wan transformers."""

    blocks: Any
    condition_embedder: Any
    patch_embedding: Any
    norm_out: Any
    proj_out: Any
    scale_shift_table: Any
    config: Any
    rotated: NormaliseAndRotate = staticmethod(normalise_and_rotate)
    attention: FullAttention | None = None
    can_store_only: bool = False
    """The blocks take `store_only`: then they store their keys and values, and return their input."""
    _text: TextCache

    def attach(self, cache: KVCache, text: TextCache) -> None:
        """Make the attention of every layer use these caches, until `detach`."""
        for layer, block in enumerate(self.blocks):
            block.attn1.set_processor(CachedSelfAttention(layer, cache, self.rotated, self.attention))
            block.attn2.set_processor(CachedCrossAttention(layer, text, self.rotated))
        self._text = text

    def detach(self) -> None:
        """Release the caches, so that their memory can be freed."""
        for block in self.blocks:
            block.attn1.set_processor(WanAttnProcessor())
            block.attn2.set_processor(WanAttnProcessor())
        del self._text

    def embed_time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Map a timestep [1] in 0..1000 to its embedding [1, dim] and modulation [1, 6, dim]."""
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
        """Run one pass. Call it inside `KVCache.forward_pass`.

        latents  [1, F, 16, h, w].
        time     from `embed_time`; one timestep for all frames.
        prompt   [1, 512, text_dim]; read only if the keys and values of the prompt are not cached.
        rotary   table of the pass's latent frames.
        control  the chunk's VACE control; for denoising passes only.
        predict  False: fill the caches, and return None.
        Returns the flow [1, F, 16, h, w].
        """
        _, frames, _, height, width = latents.shape
        weight = self.patch_embedding.weight
        hidden = tokens_of(self.patch_embedding(latents.transpose(1, 2).to(weight.dtype)))
        text_cached = self._text.valid and (control is None or control.text_cached)
        context = None if text_cached else self.condition_embedder.text_embedder(prompt.to(weight.dtype))
        embedding, modulation = time
        hints = None if control is None else control.start_pass(hidden, context, modulation)
        stored_only = len(self.blocks) - 1 if self.can_store_only and not predict and text_cached else None
        for layer, block in enumerate(self.blocks):
            options = {"store_only": True} if layer == stored_only else {}
            hidden = block(hidden, context, modulation, rotary, **options)
            if hints is not None:
                hints.after(layer, hidden)
        return self._head(hidden, embedding, (frames, height, width)) if predict else None

    def _head(self, hidden: Tensor, embedding: Tensor, shape: tuple[int, int, int]) -> Tensor:
        shift, scale = (self.scale_shift_table + embedding.unsqueeze(1)).chunk(2, dim=1)
        hidden = (self.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden)
        return unpatchify(self.proj_out(hidden), shape, self.config.patch_size)


class CausalWan(CausalForward, WanTransformer3DModel):  # type: ignore[misc]  # diffusers is untyped
    """Wan 2.1's transformer, run causally. Call `attach` before the first forward."""


def tokens_of(grid: Tensor) -> Tensor:
    """Flatten [1, dim, F, h/2, w/2] to [1, F * h/2 * w/2, dim]."""
    return grid.flatten(2).transpose(1, 2).contiguous()


def unpatchify(tokens: Tensor, shape: tuple[int, int, int], patch: Any) -> Tensor:
    """Rearrange [1, F * h/2 * w/2, 64] to [1, F, 16, h, w]. Channels vary fastest inside a token."""
    frames, height, width = shape
    _, p_h, p_w = patch
    grid = tokens.unflatten(1, (frames, height // p_h, width // p_w)).unflatten(-1, (p_h, p_w, -1))
    return torch.einsum("nfhwpqc->nfchpwq", grid).flatten(5, 6).flatten(3, 4)
