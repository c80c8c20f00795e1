"""Runs the transformer of the tiny world and its text encoder over many groups of tokens at once.

A group is a chunk of three latent frames of one video, clean or noisy, with its own timestep and prompt. The caller
defines which groups attend to which. The results are those of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

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
    """Return cosine and sine of the rotary angles of groups with these chunks, [2, groups * tokens, HEAD_DIM / 2].

    moved  latent frames by which all chunks but the first are moved to a later position.
    """
    frames = [CHUNK * chunk + frame + (moved if chunk else 0) for chunk in chunks for frame in range(CHUNK)]
    return rotary_at(tuple(frames), rows, columns, device)


@cache
def rotary_at(frames: tuple[int, ...], rows: int, columns: int, device: torch.device) -> Tensor:
    """Return cosine and sine of the rotary angles of latent frames at these positions."""
    return torch.stack(RotaryTable(HEAD_DIM, rows, columns, len(frames), device).at(frames)).view(2, -1, HEAD_DIM // 2)


def _linear(x: Tensor, layer: Any) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def _rms(x: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], norm.weight.to(x.dtype), 1e-6)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    real, imaginary = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], -1)
    return turned.flatten(-2).to(x.dtype)


def before_attention(block: Any, x: Tensor, modulation: Tensor, rotary: Tensor, turns: Tensor) -> tuple[Tensor, ...]:
    """Return queries, keys and values of self-attention, each [groups, tokens, width] like x.

    modulation [groups, 6, width]; turns: row of `rotary` for every token, [groups, tokens].
    """
    shift, scale = (modulation[:, i, None] + block.scale_shift_table[:, i] for i in (0, 1))
    attention, normal = block.attn1, _modulated(x, shift.to(x.dtype), scale.to(x.dtype))
    cos, sin = rotary[0][turns], rotary[1][turns]
    query, key = (
        _rms(_linear(normal, attention.to_q), attention.norm_q),
        _rms(_linear(normal, attention.to_k), attention.norm_k),
    )
    return _rotate(query, cos, sin), _rotate(key, cos, sin), _linear(normal, attention.to_v)


def after_attention(
    block: Any, x: Tensor, attended: Tensor, modulation: Tensor, key: Tensor, value: Tensor, weight: Tensor
) -> Tensor:
    """Run the rest of a block. key, value: of the prompt, [groups, rows, width]; weight: added to the rows' scores."""
    gate, shift, scale, last = (
        (modulation[:, i, None] + block.scale_shift_table[:, i]).to(x.dtype) for i in (2, 3, 4, 5)
    )
    x = torch.addcmul(x, _linear(attended, block.attn1.to_out[0]), gate)
    normal = F.layer_norm(x, x.shape[-1:], block.norm2.weight.to(x.dtype), block.norm2.bias.to(x.dtype), 1e-6)
    query = _rms(_linear(normal, block.attn2.to_q), block.attn2.norm_q)
    scores = torch.bmm(query, key.transpose(1, 2) * HEAD_DIM**-0.5).float() + weight
    x = x + _linear(torch.bmm(scores.softmax(-1).to(x.dtype), value), block.attn2.to_out[0])
    inner = F.gelu(_linear(_modulated(x, shift, scale), block.ffn.net[0].proj), approximate="tanh")
    return torch.addcmul(x, _linear(inner, block.ffn.net[2]), last)


class Steering(Protocol):
    """Adds hints to the groups that are predicted, as VACE does; see `control.Control`."""

    def start(self, x: Tensor, modulation: Tensor, weight: Tensor) -> Callable[[int, Tensor], Tensor]:
        """Return a function that adds the hint after a layer to x.

        x, modulation  of the predicted groups before the first layer, [groups, ...].
        """
        ...


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs a `World` over groups of chunks; large tensors have `dtype`. compiled: fuse the kernels of a block."""

    world: World
    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def prompt_keys(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the keys and values of every layer, from the result of `World.read`."""
        with torch.autocast(rows.device.type, enabled=False):
            rows = rows.to(self.dtype)
            layers = [block.attn2 for block in self.world.wan.blocks]
            return [(_rms(_linear(rows, layer.to_k), layer.norm_k), _linear(rows, layer.to_v)) for layer in layers]

    def __call__(
        self,
        patches: Tensor,
        timestep: Tensor,
        prompts: list[tuple[Tensor, Tensor]],
        rotary: Tensor,
        attend: Attend,
        head_from: int = 0,
        steering: Steering | None = None,
    ) -> Tensor:
        """Predict the flow of the groups from `head_from` on, float32 in the shape of their patches.

        patches [batch, groups, tokens, 64]; timestep [batch, groups] in 0..1000; prompts: keys and values of each
        layer, [batch, groups, rows, width].
        """
        with torch.autocast(patches.device.type, enabled=False):
            return self._run(patches, timestep, prompts, rotary, attend, head_from, steering)

    def _run(
        self,
        patches: Tensor,
        timestep: Tensor,
        prompts: list[tuple[Tensor, Tensor]],
        rotary: Tensor,
        attend: Attend,
        head_from: int,
        steering: Steering | None,
    ) -> Tensor:
        wan, embedder = self.world.wan, self.world.wan.condition_embedder
        before, after = (_FUSED_BEFORE, _FUSED_AFTER) if self.compiled else (before_attention, after_attention)
        shape, tokens = timestep.shape, patches.shape[2]
        x = F.linear(
            patches.to(self.dtype).flatten(0, 1),
            wan.patch_embedding.weight.flatten(1).to(self.dtype),
            wan.patch_embedding.bias.to(self.dtype),
        )
        embedding = embedder.time_embedder(embedder.timesteps_proj(timestep.flatten()))
        modulation = embedder.time_proj(F.silu(embedding)).unflatten(-1, (6, -1))
        turns = torch.arange(shape[1] * tokens, device=x.device).view(shape[1], tokens).repeat(shape[0], 1)
        rows = prompts[0][0].shape[2]
        weight = torch.zeros(rows, device=x.device)
        weight[-1:].fill_(math.log(TEXT_TOKENS - rows + 1))
        if steering is not None:
            predicted = [every.unflatten(0, shape)[:, head_from:].flatten(0, 1) for every in (x, modulation)]
            add_hint = steering.start(*predicted, weight)
        for layer, block in enumerate(wan.blocks):
            seen = before(block, x, modulation, rotary, turns)
            query, key, value = (part.unflatten(0, shape) for part in seen)
            attended = attend(layer, query, key, value).flatten(0, 1)
            key, value = (part.flatten(0, 1) for part in prompts[layer])
            x = after(block, x, attended, modulation, key, value, weight)
            if steering is not None:
                clean, noisy = x.unflatten(0, shape).tensor_split([head_from], 1)
                x = torch.cat([clean, add_hint(layer, noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])], 1)
                x = x.flatten(0, 1)
        x = x.unflatten(0, shape)[:, head_from:]
        shift, scale = (
            (wan.scale_shift_table[0] + embedding.unflatten(0, shape)[:, head_from:, None])
            .to(self.dtype)
            .unsqueeze(-2)
            .unbind(-3)
        )
        flow = _linear(_modulated(x, shift, scale), wan.proj_out).float()
        return flow.unflatten(-1, (4, 16)).transpose(-1, -2).flatten(-2)  # the head's channels vary fastest


def _fused(part: Callable[..., Any], *axes: tuple[int, ...]) -> Callable[..., Any]:
    """Compile a part of a block once for all sizes. axes: of each tensor after the block, those that vary."""
    compiled = torch.compile(part, fullgraph=True)

    def run(block: Any, *tensors: Tensor) -> Any:
        for tensor, varying in zip(tensors, axes, strict=True):
            for axis in varying:
                torch._dynamo.mark_dynamic(tensor, axis)
        return compiled(block, *tensors)

    return run


_FUSED_BEFORE = _fused(before_attention, (0, 1), (0,), (1,), (0, 1))
_FUSED_AFTER = _fused(after_attention, (0, 1), (0, 1), (0,), (0,), (0,), ())
