"""Runs the transformer of the tiny world and its text encoder over many groups of tokens at once.

A group is a chunk of three latent frames of one video, clean or noisy, with its own timestep and prompt. The caller
defines which groups attend to which. The results are those of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import UMT5Config, UMT5EncoderModel

from scope_batch.core.geometry import TEXT_TOKENS
from scope_batch.engine.rope import RotaryTable

from .words import PIECES

CHUNK = 3
HEAD_DIM, LAYERS, FEED_FORWARD = 128, 8, 512
TEXT_WIDTH, TEXT_HEADS = 64, 2

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Computes attention from (layer, queries, keys, values), each [batch, groups, tokens, HEAD_DIM], as is the result."""


class World(nn.Module):
    """The text encoder and the transformer, in the classes whose files the engine reads."""

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        config = UMT5Config(
            vocab_size=len(PIECES),
            d_model=TEXT_WIDTH,
            d_kv=32,
            d_ff=128,
            num_layers=2,
            num_heads=TEXT_HEADS,
            dropout_rate=0.0,
        )
        self.text: Any = UMT5EncoderModel(config)
        self.wan: Any = WanTransformer3DModel(
            num_attention_heads=1, attention_head_dim=HEAD_DIM, num_layers=layers, ffn_dim=FEED_FORWARD,
            in_channels=16, out_channels=16, text_dim=TEXT_WIDTH, freq_dim=256, cross_attn_norm=True,
        )  # fmt: skip
        for block in self.wan.blocks:  # every layer begins by changing nothing
            for last in (block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[2]):
                nn.init.zeros_(last.weight)

    def read(self, tokens: Tensor) -> Tensor:
        """Encode token ids [prompts, tokens] to the rows that the transformer takes, [prompts, tokens + 1, width].

        Rows beyond a prompt's end are zero. The last row represents all others of the engine's 512 rows.
        """
        rows = self.states(tokens) * (tokens > 0)[..., None]
        embedded: Tensor = self.wan.condition_embedder.text_embedder(F.pad(rows, (0, 0, 0, 1)))
        return embedded

    def states(self, tokens: Tensor) -> Tensor:
        """Return the output of the text encoder, like `UMT5EncoderModel`, but without waiting for the device."""
        encoder = self.text.encoder
        x = encoder.embed_tokens(tokens)
        beyond = torch.zeros(tokens.shape, device=x.device).masked_fill(tokens == 0, -1e9)[:, None, None]
        for block in encoder.block:
            attention = block.layer[0].SelfAttention
            normal = block.layer[0].layer_norm(x)
            query, key, value = (
                project(normal).unflatten(-1, (TEXT_HEADS, -1)).transpose(1, 2)
                for project in (attention.q, attention.k, attention.v)
            )
            scores = query @ key.transpose(-1, -2) + attention.compute_bias(tokens.shape[1], tokens.shape[1]) + beyond
            seen = scores.float().softmax(-1).to(value.dtype) @ value
            x = block.layer[1](x + attention.o(seen.transpose(1, 2).flatten(2)))
        states: Tensor = encoder.final_layer_norm(x)
        return states


@cache
def rotary_of(chunks: tuple[int, ...], rows: int, columns: int, device: torch.device, moved: int = 0) -> Tensor:
    """Return the rotary factors of groups with these chunks, complex [groups, tokens, HEAD_DIM / 2].

    moved  latent frames by which all chunks but the first are moved to a later position.
    """
    frames = [CHUNK * chunk + frame + (moved if chunk else 0) for chunk in chunks for frame in range(CHUNK)]
    cos, sin = RotaryTable(HEAD_DIM, rows, columns, len(frames), device).at(frames)
    return torch.complex(cos, sin).view(len(chunks), CHUNK * rows * columns, HEAD_DIM // 2)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    turned = torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * rotary
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return the layer norm of x, scaled and shifted, in the dtype of x."""
    with torch.autocast(x.device.type, enabled=False):
        return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def before_attention(
    block: Any, x: Tensor, modulation: Sequence[Tensor], rotary: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of self-attention. modulation: six tensors [batch, groups, 1, width]."""
    attention, normal = block.attn1, modulated(x, modulation[0], modulation[1])
    query, key = rms(attention.to_q(normal), attention.norm_q), rms(attention.to_k(normal), attention.norm_k)
    return rotate(query, rotary), rotate(key, rotary), attention.to_v(normal)


def after_attention(
    block: Any, x: Tensor, attended: Tensor, modulation: Sequence[Tensor], prompt: tuple[Tensor, Tensor], weight: Tensor
) -> Tensor:
    """Run the rest of a block. prompt: keys and values [batch, groups, rows, width]; weight: added to their scores."""
    x = torch.addcmul(x, block.attn1.to_out[0](attended), modulation[2])
    with torch.autocast(x.device.type, enabled=False):
        norm = block.norm2
        normal = F.layer_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.bias.to(x.dtype), 1e-6)
    query = rms(block.attn2.to_q(normal), block.attn2.norm_q)
    scores = query @ (prompt[0].transpose(-1, -2) * HEAD_DIM**-0.5)
    seen = (scores + weight).softmax(-1, dtype=torch.float32).to(x.dtype) @ prompt[1]
    x = x + block.attn2.to_out[0](seen)
    inner = block.ffn.net[0].proj(modulated(x, modulation[3], modulation[4]))
    return torch.addcmul(x, block.ffn.net[2](F.gelu(inner, approximate="tanh")), modulation[5])


def rms(x: Tensor, norm: Any) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return F.rms_norm(x, x.shape[-1:], norm.weight.to(x.dtype), 1e-6)


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs a `World` over groups of chunks; large tensors have `dtype`."""

    world: World
    dtype: torch.dtype = torch.float32

    def prompt_keys(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the keys and values of every layer, from the result of `World.read`."""
        rows = rows.to(self.dtype)
        layers = [block.attn2 for block in self.world.wan.blocks]
        return [(rms(layer.to_k(rows), layer.norm_k), layer.to_v(rows)) for layer in layers]

    def __call__(
        self,
        patches: Tensor,
        timestep: Tensor,
        prompts: list[tuple[Tensor, Tensor]],
        rotary: Tensor,
        attend: Attend,
        head_from: int = 0,
    ) -> Tensor:
        """Predict the flow of the groups from `head_from` on, float32 in the shape of their patches.

        patches [batch, groups, tokens, 64]; timestep [batch, groups] in 0..1000; prompts: keys and values of each
        layer, [batch, groups, rows, width].
        """
        wan = self.world.wan
        x = F.linear(patches.to(self.dtype), wan.patch_embedding.weight.flatten(1), wan.patch_embedding.bias)
        embedder = wan.condition_embedder
        with torch.autocast(x.device.type, enabled=False):
            embedding = embedder.time_embedder(embedder.timesteps_proj(timestep.flatten())).unflatten(0, timestep.shape)
            modulation = embedder.time_proj(F.silu(embedding)).unflatten(-1, (6, -1))
        rows = prompts[0][0].shape[2]
        weight = torch.zeros(rows, device=x.device, dtype=self.dtype)
        weight[-1:].fill_(math.log(TEXT_TOKENS - rows + 1))
        for layer, block in enumerate(wan.blocks):
            six = (block.scale_shift_table[0] + modulation).to(self.dtype).unsqueeze(-2).unbind(-3)
            query, key, value = before_attention(block, x, six, rotary)
            x = after_attention(block, x, attend(layer, query, key, value), six, prompts[layer], weight)
        shift, scale = (
            (wan.scale_shift_table[0] + embedding[:, head_from:, None]).to(self.dtype).unsqueeze(-2).unbind(-3)
        )
        flow: Tensor = wan.proj_out(modulated(x[:, head_from:], shift, scale)).float()
        return flow.unflatten(-1, (4, 16)).transpose(-1, -2).flatten(-2)  # the head's channels vary fastest
