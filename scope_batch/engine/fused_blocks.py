"""Runs the transformer's blocks with fused element-wise parts, on CUDA devices. The linear layers stay modules.

So LoRA side branches, fp8 weights, offload and casting keep working: they hook the linear layers or the blocks.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from scope_batch.engine.rope import Rotary
from scope_batch.engine.transformer import FullAttention
from scope_batch.kernels.token_rows import (
    add_gated,
    add_gated_norm,
    add_modulated_norm,
    modulated_norm,
    rms_norm_rotated,
)

HOPPER = 9, 0
"""The compute capability that FlashAttention 3 is made for."""
QUERY_TILE, MAX_KEY_SPLITS = 128, 4
SUM_COST = 0.11
"""To add the result of one more part to a query and head takes as long as so many keys of a wave; measured on an H200
for 4,680 queries, 18,720 keys and 12 heads (0.83 ms in one part, 0.79 in two, 0.84 in three)."""
SELF_ATTENTION, FEED_FORWARD = 0, 3
"""First rows of their modulation: shift, scale and gate."""


def use_fused_blocks(transformer: Any) -> None:
    """Replace the forward of every block of a `CausalWan` or `CausalVaceWan`. Call it before `attach`."""
    transformer.rotated, transformer.can_store_only = _rotated, True
    transformer.attention = _flash_attention(transformer.device, transformer.dtype)
    for block in transformer.blocks:
        vars(block)["forward"] = partial(_forward, block)
    for block in getattr(transformer, "vace_blocks", ()):
        vars(block)["forward"] = partial(_vace_forward, block)


def _forward(
    block: Any,
    hidden: Tensor,
    context: Tensor | None,
    modulation: Tensor,
    rotary: Rotary,
    *,
    store_only: bool = False,
) -> Tensor:
    """See diffusers' `WanTransformerBlock.forward`, and `CausalForward.can_store_only`."""
    table = block.scale_shift_table
    normed = modulated_norm(hidden, table, modulation, SELF_ATTENTION, block.norm1.eps)
    if store_only:
        block.attn1.processor.store(block.attn1, normed, rotary)
        return hidden
    attended = block.attn1(normed, None, None, rotary)
    affine = block.norm2.weight, block.norm2.bias
    hidden, normed = add_gated_norm(hidden, attended, table, modulation, SELF_ATTENTION, affine, block.norm2.eps)
    attended = block.attn2(normed, context, None, None)
    hidden, normed = add_modulated_norm(hidden, attended, table, modulation, FEED_FORWARD, block.norm3.eps)
    return add_gated(hidden, _feed_forward(block.ffn, normed), table, modulation, FEED_FORWARD)


def _vace_forward(
    block: Any, hidden: Tensor, context: Tensor | None, control: Tensor, modulation: Tensor, rotary: Rotary
) -> tuple[Tensor | None, Tensor]:
    """See diffusers' `WanVACETransformerBlock.forward`."""
    if block.proj_in is not None:
        control = block.proj_in(control) + hidden
    control = _forward(block, control, context, modulation, rotary)
    return None if block.proj_out is None else block.proj_out(control), control


def _rotated(norm: Any, x: Tensor, heads: int, rotary: Rotary | None) -> Tensor:
    """See `transformer.NormaliseAndRotate`."""
    if norm is None:
        return rms_norm_rotated(x, None, 0.0, heads, rotary)
    return rms_norm_rotated(x, norm.weight, norm.eps, heads, rotary)


def _feed_forward(ffn: Any, x: Tensor) -> Tensor:
    """Run diffusers' `FeedForward`. On CUDA a plain linear layer computes its GELU on the way, by the same formula."""
    linear = ffn.net[0].proj
    plain = type(linear) is nn.Linear and type(linear.weight.data) is Tensor
    hooked = "forward" in vars(linear) or linear._forward_hooks or linear._forward_pre_hooks
    if not x.is_cuda or not plain or hooked:
        out: Tensor = ffn(x)
    else:
        inner = torch._addmm_activation(linear.bias, x.flatten(0, 1), linear.weight.t(), use_gelu=True)
        out = ffn.net[2](inner.unflatten(0, x.shape[:2]))
    return out


def _flash_attention(device: torch.device, dtype: torch.dtype) -> FullAttention | None:
    """Return FlashAttention 3 if the package fa3-fwd is installed and fits, else None."""
    if device.type != "cuda" or dtype != torch.bfloat16 or not find_spec("fa3_fwd_interface"):
        return None
    if torch.cuda.get_device_capability(device) != HOPPER:
        return None
    from fa3_fwd_interface import flash_attn_func

    processors = torch.cuda.get_device_properties(device).multi_processor_count

    def attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        splits = key_splits(query.shape[1], keys.shape[1], query.shape[2], processors)
        result: Tensor = flash_attn_func(query, keys, values, num_splits=splits)
        return result

    return attention


def key_splits(tokens: int, keys: int, heads: int, processors: int) -> int:
    """Return into how many parts to split the keys, so that the device's multiprocessors end at about the same time.

    Each of them takes `QUERY_TILE` queries of one head and one part of the keys at a time; the last wave of such tiles
    leaves some idle.
    """
    tiles = -(-tokens // QUERY_TILE) * heads

    def cost(parts: int) -> float:
        waves = -(-tiles * parts // processors)
        return waves * keys / parts + SUM_COST * tokens * heads * (parts - 1)

    return min(range(1, MAX_KEY_SPLITS + 1), key=cost)
