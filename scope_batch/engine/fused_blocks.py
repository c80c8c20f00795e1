"""Runs the transformer's blocks with fused element-wise parts, on CUDA devices. The linear layers stay modules.

So LoRA side branches, fp8 weights, offload and casting keep working: they hook the linear layers or the blocks. Where
all layers that read a norm are `Fp8Linear`, the kernel of the norm quantizes its result.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from scope_batch.engine.fp8_linear import Fp8Linear, use_fp8_linears
from scope_batch.engine.rope import Rotary
from scope_batch.engine.transformer import FullAttention
from scope_batch.kernels.quantized_rows import quantize_rows, to_e4m3
from scope_batch.kernels.token_rows import (
    Rows,
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


def use_fused_blocks(transformer: Any, *, fp8: bool = False) -> None:
    """Replace the forward of every block of a `CausalWan` or `CausalVaceWan`. Call it before `attach`.

    fp8  multiply in fp8 in the blocks' linear layers and, where it runs, in FlashAttention 3. LoRAs are merged or
         attached already.
    """
    if fp8:
        use_fp8_linears(transformer)
    transformer.rotated, transformer.can_store_only = _rotated, True
    transformer.attention = _flash_attention(transformer.device, transformer.dtype, fp8=fp8)
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
    table, own = block.scale_shift_table, block.attn1
    quantized = _are_fp8(own.to_q, own.to_k, own.to_v)
    normed = modulated_norm(hidden, table, modulation, SELF_ATTENTION, block.norm1.eps, quantized=quantized)
    if store_only:
        own.processor.store(own, normed, rotary)
        return hidden
    attended = own(normed, None, None, rotary)
    affine, eps, quantized = (block.norm2.weight, block.norm2.bias), block.norm2.eps, _are_fp8(block.attn2.to_q)
    hidden, normed = add_gated_norm(
        hidden, attended, table, modulation, SELF_ATTENTION, affine, eps, quantized=quantized
    )
    attended = block.attn2(normed, context, None, None)
    eps, quantized = block.norm3.eps, _are_fp8(block.ffn.net[0].proj)
    hidden, normed = add_modulated_norm(hidden, attended, table, modulation, FEED_FORWARD, eps, quantized=quantized)
    return add_gated(hidden, _feed_forward(block.ffn, normed), table, modulation, FEED_FORWARD)


def _are_fp8(*layers: Any) -> bool:
    return all(isinstance(layer, Fp8Linear) for layer in layers)


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


def _feed_forward(ffn: Any, x: Rows) -> Tensor:
    """Run diffusers' `FeedForward`. On CUDA a plain linear layer computes its GELU on the way, by the same formula."""
    linear = ffn.net[0].proj
    plain = type(linear) is nn.Linear and type(linear.weight.data) is Tensor
    hooked = "forward" in vars(linear) or linear._forward_hooks or linear._forward_pre_hooks
    if _are_fp8(linear, ffn.net[2]):
        out: Tensor = ffn.net[2](quantize_rows(linear(x), gelu=True))
    elif not isinstance(x, Tensor) or not x.is_cuda or not plain or hooked:
        out = ffn(x)
    else:
        inner = torch._addmm_activation(linear.bias, x.flatten(0, 1), linear.weight.t(), use_gelu=True)
        out = ffn.net[2](inner.unflatten(0, x.shape[:2]))
    return out


def _flash_attention(device: torch.device, dtype: torch.dtype, *, fp8: bool) -> FullAttention | None:
    """Return FlashAttention 3 if the package fa3-fwd is installed and fits, else None.

    fp8  it computes with e4m3. Queries and keys are normalised, and so have no need of scales.
    """
    if device.type != "cuda" or dtype != torch.bfloat16 or not find_spec("fa3_fwd_interface"):
        return None
    if torch.cuda.get_device_capability(device) != HOPPER:
        return None
    from fa3_fwd_interface import flash_attn_func

    processors = torch.cuda.get_device_properties(device).multi_processor_count

    def attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        splits = key_splits(query.shape[1], keys.shape[1], query.shape[2], processors)
        if fp8:
            query, keys, values = to_e4m3(query), to_e4m3(keys), to_e4m3(values)
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
