"""Builds random weights of the tiny models, in original Wan naming, with gains that keep signals stable."""

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
_TAKEN_OFF, _FIRST_GATHERED, _GATHERED, _COLOUR = 0.7, 3.0, 0.8, 1.0
_NEARNESS = 1.4
"""Steepness with which attention falls off with distance; the logits grow with its square."""


class Stream(Protocol):
    def __call__(self, *shape: int, k: float = 1.0) -> Tensor: ...


def stream(name: str) -> Stream:
    """Return a source of random tensors with standard deviation `k`, which depend only on `name`.

    numpy's legacy generator is frozen, so that they are the same everywhere. They are uniform, because normal numbers
    depend on the platform's logarithm.
    """
    state = np.random.RandomState(zlib.crc32(name.encode()))

    def draw(*shape: int, k: float = 1.0) -> Tensor:
        uniform = state.random_sample(shape).astype(np.float32)
        return torch.from_numpy((uniform - np.float32(0.5)) * np.float32(k * 12**0.5))

    return draw


def transformer(rng: Stream, *, heads: int, layers: int, ffn: int) -> State:
    """Build a Wan backbone whose output is smooth coloured shapes, not noise.

    The channels are split in three parts: the noisy input patch; the mean of patches nearby in space and time, which
    self-attention gathers; and the rest, which the prompt and feed-forward layers write to. The head subtracts the
    first, adds the second, and lets the third shift the colours.
    """
    width = heads * HEAD_DIM
    state: State = {
        "patch_embedding.weight": torch.zeros(width, 16, 1, 2, 2),
        "patch_embedding.bias": torch.zeros(width),
    }
    channel, row, column = (torch.from_numpy(axis.reshape(-1)) for axis in np.indices((16, 2, 2)))
    state["patch_embedding.weight"][torch.arange(_PATCH), channel, 0, row, column] = 1
    _linear(state, rng, "text_embedding.0", width, TEXT_WIDTH, gain=2.0, bias=0)  # a padding row stays zero
    _linear(state, rng, "text_embedding.2", width, width, gain=2.0, bias=0)
    _linear(state, rng, "time_embedding.0", width, 256)
    _linear(state, rng, "time_embedding.2", width, width)
    _linear(state, rng, "time_projection.1", 6 * width, width, gain=0.1)
    for half in ("weight", "bias"):  # a constant offset would be gathered and grow
        state[f"time_projection.1.{half}"][: 2 * _PATCH] = 0
        state[f"time_embedding.2.{half}"][: 2 * _PATCH] = 0
    for i in range(layers):
        _block(state, rng, f"blocks.{i}", width, ffn, first=i == 0)
    _linear(state, rng, "head.head", _PATCH, width, bias=0)
    colours = rng(16, width, k=_COLOUR * (width - 2 * _PATCH) ** -0.5)
    head = state["head.head.weight"]
    head.copy_(colours.repeat(4, 1))  # the head's rows are ordered by position in the patch, then channel
    head[:, : 2 * _PATCH] = 0
    head[(row * 2 + column) * 16 + channel, torch.arange(_PATCH)] = _TAKEN_OFF
    head[(row * 2 + column) * 16 + channel, torch.arange(_PATCH, 2 * _PATCH)] = -_GATHERED
    state["head.modulation"] = rng(1, 2, width, k=0.05)
    state["head.modulation"][:, 0] = 0
    return state


def _block(state: State, rng: Stream, name: str, width: int, ffn: int, *, first: bool) -> None:
    modulation = rng(1, 6, width, k=0.05)
    modulation[:, 0] = 0
    modulation[:, [2, 5]] += 1  # the gates of attention and feed-forward
    state[f"{name}.modulation"] = modulation
    state[f"{name}.norm3.weight"] = 1 + rng(width, k=0.1)
    state[f"{name}.norm3.bias"] = rng(width, k=0.1)
    _self_attention(state, rng, f"{name}.self_attn", width, source=0 if first else _PATCH)
    _cross_attention(state, rng, f"{name}.cross_attn", width)
    _linear(state, rng, f"{name}.ffn.0", ffn, width)
    _linear(state, rng, f"{name}.ffn.2", width, ffn, gain=0.5)
    for half in ("cross_attn.o.weight", "cross_attn.o.bias", "ffn.2.weight", "ffn.2.bias"):
        rest = state[f"{name}.{half}"][2 * _PATCH :]
        rest -= rest.mean(dim=0)  # a mean would leak into the other two parts through the norms
        state[f"{name}.{half}"][: 2 * _PATCH] = 0


def _self_attention(state: State, rng: Stream, name: str, width: int, *, source: int) -> None:
    """Build self-attention that returns the mean of nearby patches minus the mean of all patches.

    Queries and keys of the first head are mostly one constant vector, so that the rotary positions alone decide and
    patches attend to near ones. Those of the second head are almost zero, so that it attends to all patches alike.
    Subtracting the second keeps shapes and avoids a growing colour cast.
    """
    for x in "qk":
        _linear(state, rng, f"{name}.{x}", width, width, gain=0.1, bias=0)
        state[f"{name}.{x}.bias"][0:HEAD_DIM:2] = 1
        state[f"{name}.norm_{x}.weight"] = _NEARNESS + rng(width, k=0.1)
    _linear(state, rng, f"{name}.v", width, width, gain=0.3, bias=0)
    _linear(state, rng, f"{name}.o", width, width, gain=0.1, bias=0)
    dims = torch.arange(_PATCH)
    one_colour = torch.block_diag(
        *[torch.full((4, 4), 0.25)] * 16
    )  # the four cells of a patch get the same values, so that no grid shows
    values, out = state[f"{name}.v.weight"], state[f"{name}.o.weight"]
    out[: 2 * _PATCH] = 0
    for first, sign in ((0, 1), (HEAD_DIM, -1)):
        values[first : first + _PATCH] = 0
        values[first : first + _PATCH, source : source + _PATCH] = one_colour
        out[_PATCH + dims, first + dims] = sign * (_FIRST_GATHERED if source == 0 else 1.0)


def _cross_attention(state: State, rng: Stream, name: str, width: int) -> None:
    """Build cross-attention that ignores padding: its key points away from every query."""
    for x in "qkvo":
        _linear(state, rng, f"{name}.{x}", width, width, bias=0)
    away = rng(width, k=1.0)
    state[f"{name}.q.bias"] = 1.5 * away
    state[f"{name}.k.bias"] = -0.01 * away
    for x in "qk":
        state[f"{name}.norm_{x}.weight"] = 1.3 + rng(width, k=0.1)


def lora(rng: Stream, *, heads: int, layers: int, ffn: int, rank: int) -> State:
    """Build a LoRA for every linear layer of the blocks, in PEFT's naming, with alpha / rank = 1."""
    state: State = {}
    for module, out, inp in _lora_targets(heads * HEAD_DIM, layers, ffn):
        state[f"base_model.model.{module}.lora_A.weight"] = rng(rank, inp, k=inp**-0.5)
        b = rng(out, rank, k=0.2 * rank**-0.5)
        b[: 2 * _PATCH] = 0  # the parts that form the picture are not changed
        state[f"base_model.model.{module}.lora_B.weight"] = b
    return state


def _lora_targets(width: int, layers: int, ffn: int) -> Iterator[tuple[str, int, int]]:
    for i in range(layers):
        for attention in ("self_attn", "cross_attn"):
            yield from ((f"blocks.{i}.{attention}.{x}", width, width) for x in "qkvo")
        yield f"blocks.{i}.ffn.0", ffn, width
        yield f"blocks.{i}.ffn.2", width, ffn


def text_encoder(rng: Stream, *, vocab: int) -> State:
    """Build a UMT5 encoder of the published width."""
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
    """Return the dtype in the published file: fp8 without scales for attention and feed-forward, else bfloat16."""
    return torch.float8_e4m3fn if ".attn." in key or ".ffn." in key else torch.bfloat16


def _linear(state: State, rng: Stream, name: str, out: int, inp: int, gain: float = 1.0, bias: float = 0.02) -> None:
    state[f"{name}.weight"] = rng(out, inp, k=gain * inp**-0.5)
    state[f"{name}.bias"] = rng(out, k=bias)
