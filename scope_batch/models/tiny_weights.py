"""Random weights of the tiny set, in the original Wan naming, that keep a signal alive through every layer."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from scope_batch.models.checkpoint import State

HEAD_DIM = 128
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, TEXT_HEAD_DIM, TEXT_FFN = 4096, 2, 2, 32, 96
_PATCH = 16 * 2 * 2
"""Numbers in one token's patch: latent channels x height x width."""


class Stream(Protocol):
    def __call__(self, *shape: int, k: float = 1.0) -> Tensor: ...


def stream(name: str) -> Stream:
    """A named source of random tensors with standard deviation `k`, the same on every machine and in every version.

    numpy's legacy generator never changes; uniform numbers, because normals go through the platform's logarithm.
    """
    state = np.random.RandomState(zlib.crc32(name.encode()))

    def draw(*shape: int, k: float = 1.0) -> Tensor:
        uniform = state.random_sample(shape).astype(np.float32)
        return torch.from_numpy((uniform - np.float32(0.5)) * np.float32(k * 12**0.5))

    return draw


def transformer(rng: Stream, *, heads: int, layers: int, ffn: int) -> State:
    """A Wan backbone whose first dimensions carry the noisy patch straight to the head, so that most of it is taken off
    and what attention adds to it, shared between places and times and coloured by the prompt, is what remains."""
    width = heads * HEAD_DIM
    state: State = {
        "patch_embedding.weight": rng(width, 16, 1, 2, 2, k=0.06),
        "patch_embedding.bias": rng(width, k=0.02),
    }
    _linear(state, rng, "text_embedding.0", width, TEXT_WIDTH)
    _linear(state, rng, "text_embedding.2", width, width)
    _linear(state, rng, "time_embedding.0", width, 256)
    _linear(state, rng, "time_embedding.2", width, width)
    _linear(state, rng, "time_projection.1", 6 * width, width, gain=0.3)
    for i in range(layers):
        _block(state, rng, f"blocks.{i}", width, ffn)
    _linear(state, rng, "head.head", _PATCH, width, gain=0.5)
    state["head.modulation"] = rng(1, 2, width, k=width**-0.5)
    _carry_patch(state)
    return state


def _carry_patch(state: State) -> None:
    channel, row, column = (axis.reshape(-1) for axis in np.indices((16, 2, 2)))
    dims = torch.arange(_PATCH)
    into = state["patch_embedding.weight"]
    into[:_PATCH] = 0
    into[dims, channel, 0, row, column] = 1
    out = state["head.head.weight"]
    out[:, :_PATCH] = 0
    out[torch.from_numpy((row * 2 + column) * 16 + channel), dims] = 0.8


def _block(state: State, rng: Stream, name: str, width: int, ffn: int) -> None:
    modulation = rng(1, 6, width, k=0.1)
    modulation[:, [2, 5]] += 0.5  # the gates of attention and feed-forward
    state[f"{name}.modulation"] = modulation
    state[f"{name}.norm3.weight"] = 1 + rng(width, k=0.1)
    state[f"{name}.norm3.bias"] = rng(width, k=0.1)
    for attention, gain in (("self_attn", 1.0), ("cross_attn", 0.7)):
        for x in "qkvo":
            _linear(state, rng, f"{name}.{attention}.{x}", width, width, gain=gain if x == "o" else 1.0)
        for x in "qk":
            state[f"{name}.{attention}.norm_{x}.weight"] = 1 + rng(width, k=0.3)
    _linear(state, rng, f"{name}.ffn.0", ffn, width)
    _linear(state, rng, f"{name}.ffn.2", width, ffn)


def lora(rng: Stream, *, heads: int, layers: int, ffn: int, rank: int) -> State:
    """A LoRA on every linear layer of the blocks, PEFT's naming, scaling 1."""
    state: State = {}
    for module, out, inp in _lora_targets(heads * HEAD_DIM, layers, ffn):
        state[f"base_model.model.{module}.lora_A.weight"] = rng(rank, inp, k=inp**-0.5)
        state[f"base_model.model.{module}.lora_B.weight"] = rng(out, rank, k=0.2 * rank**-0.5)
    return state


def _lora_targets(width: int, layers: int, ffn: int) -> Iterator[tuple[str, int, int]]:
    for i in range(layers):
        for attention in ("self_attn", "cross_attn"):
            yield from ((f"blocks.{i}.{attention}.{x}", width, width) for x in "qkvo")
        yield f"blocks.{i}.ffn.0", ffn, width
        yield f"blocks.{i}.ffn.2", width, ffn


def text_encoder(rng: Stream, *, vocab: int) -> State:
    """A UMT5 encoder of the published width."""
    inner = TEXT_HEADS * TEXT_HEAD_DIM
    state: State = {"token_embedding.weight": rng(vocab, TEXT_WIDTH)}
    for i in range(TEXT_LAYERS):
        block = f"blocks.{i}"
        state[f"{block}.norm1.weight"] = 1 + rng(TEXT_WIDTH, k=0.1)
        for x, k in (("q", 0.5), ("k", 1.0), ("v", 1.0)):
            state[f"{block}.attn.{x}.weight"] = rng(inner, TEXT_WIDTH, k=k * TEXT_WIDTH**-0.5)
        state[f"{block}.attn.o.weight"] = rng(TEXT_WIDTH, inner, k=inner**-0.5)
        state[f"{block}.norm2.weight"] = 1 + rng(TEXT_WIDTH, k=0.1)
        state[f"{block}.ffn.gate.0.weight"] = rng(TEXT_FFN, TEXT_WIDTH, k=TEXT_WIDTH**-0.5)
        state[f"{block}.ffn.fc1.weight"] = rng(TEXT_FFN, TEXT_WIDTH, k=TEXT_WIDTH**-0.5)
        state[f"{block}.ffn.fc2.weight"] = rng(TEXT_WIDTH, TEXT_FFN, k=TEXT_FFN**-0.5)
        state[f"{block}.pos_embedding.embedding.weight"] = rng(32, TEXT_HEADS)
    state["norm.weight"] = (1 + rng(TEXT_WIDTH, k=0.1)) * 0.5
    return state


def text_dtype(key: str) -> torch.dtype:
    """As in the published file: fp8 without scales for the matrices of attention and feed-forward, else bfloat16."""
    return torch.float8_e4m3fn if ".attn." in key or ".ffn." in key else torch.bfloat16


def _linear(state: State, rng: Stream, name: str, out: int, inp: int, gain: float = 1.0) -> None:
    state[f"{name}.weight"] = rng(out, inp, k=gain * inp**-0.5)
    state[f"{name}.bias"] = rng(out, k=0.02)
