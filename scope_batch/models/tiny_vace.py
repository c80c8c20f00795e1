"""The tiny set's VACE module: blocks that carry the context through and hint it to the backbone."""

from __future__ import annotations

import numpy as np
import torch

from scope_batch import laws
from scope_batch.models.checkpoint import State
from scope_batch.models.tiny_weights import HEAD_DIM, Stream

_PATCH = laws.LATENT_CHANNELS * laws.PATCH**2


def vace(rng: Stream, *, heads: int, layers: int, ffn: int) -> State:
    """A VACE module on every second layer of a backbone of this size."""
    width = heads * HEAD_DIM
    state: State = {
        "vace_patch_embedding.weight": torch.zeros(width, laws.VACE_CHANNELS, 1, laws.PATCH, laws.PATCH),
        "vace_patch_embedding.bias": torch.zeros(width),
    }
    channel, row, column = (torch.from_numpy(axis.reshape(-1)) for axis in np.indices((16, 2, 2)))
    for first in (0, laws.LATENT_CHANNELS):
        state["vace_patch_embedding.weight"][torch.arange(_PATCH, 2 * _PATCH), first + channel, 0, row, column] = 1
    for j in range(len(range(0, layers, 2))):
        _block(state, rng, f"vace_blocks.{j}", width, ffn, first=j == 0)
    return state


def _block(state: State, rng: Stream, name: str, width: int, ffn: int, *, first: bool) -> None:
    state[f"{name}.modulation"] = torch.zeros(1, 6, width)
    state[f"{name}.norm3.weight"], state[f"{name}.norm3.bias"] = torch.ones(width), torch.zeros(width)
    for attention in ("self_attn", "cross_attn"):
        for x in "qkvo":
            _linear(state, rng, f"{name}.{attention}.{x}", width, width, 0.02)
        for x in "qk":
            state[f"{name}.{attention}.norm_{x}.weight"] = torch.ones(width)
    _linear(state, rng, f"{name}.ffn.0", ffn, width, 0.02)
    _linear(state, rng, f"{name}.ffn.2", width, ffn, 0.02)
    if first:
        state[f"{name}.before_proj.weight"], state[f"{name}.before_proj.bias"] = torch.eye(width), torch.zeros(width)
    state[f"{name}.after_proj.weight"], state[f"{name}.after_proj.bias"] = torch.zeros(width, width), torch.zeros(width)
    carried = torch.arange(_PATCH, 2 * _PATCH)
    state[f"{name}.after_proj.weight"][carried, carried] = 1


def _linear(state: State, rng: Stream, name: str, out: int, inp: int, gain: float) -> None:
    state[f"{name}.weight"] = rng(out, inp, k=gain * inp**-0.5)
    state[f"{name}.bias"] = torch.zeros(out)
