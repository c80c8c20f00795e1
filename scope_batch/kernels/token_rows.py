"""Fuses the element-wise parts of a transformer block: norm with modulation, gated residual, norm with rotation.

Every kernel reads and writes rows of one token each. Sums are float32 and rounded once: to the dtype of the rows, or
with `quantized` to e4m3 with a scale for each row.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from scope_batch.kernels.quantized_rows import QuantizedRows, store_quantized

Rows = Tensor | QuantizedRows
"""[1, tokens, dim]."""
SHIFT, SCALE, GATE = 0, 1, 2
"""Rows of a modulation, counted from its first."""


def modulated_norm(
    x: Tensor, table: Tensor, modulation: Tensor, first: int, eps: float, *, quantized: bool = False
) -> Rows:
    """Return layer_norm(x) * (1 + scale) + shift of x [1, tokens, dim].

    table, modulation  [1, 6, dim], contiguous; their sum gives shift and scale, rows `first` and `first` + 1.
    """
    out = _rows_like(x, quantized)
    _launch(x, None, out, None, table, modulation, first, eps)
    return out


def add_gated(hidden: Tensor, update: Tensor, table: Tensor, modulation: Tensor, first: int) -> Tensor:
    """Return hidden + update * gate, [1, tokens, dim]; gate is row `first` + 2 of table + modulation."""
    out = torch.empty_like(hidden)
    _launch(hidden, update, None, out, table, modulation, first, 0.0)
    return out


def add_gated_norm(
    hidden: Tensor,
    update: Tensor,
    table: Tensor,
    modulation: Tensor,
    first: int,
    affine: tuple[Tensor, Tensor],
    eps: float,
    *,
    quantized: bool = False,
) -> tuple[Tensor, Rows]:
    """Return hidden + update * gate, and its layer norm with weight and bias `affine`, [dim] each."""
    total, out = torch.empty_like(hidden), _rows_like(hidden, quantized)
    _launch(hidden, update, out, total, table, modulation, first, eps, affine=affine)
    return total, out


def add_modulated_norm(
    hidden: Tensor,
    update: Tensor,
    table: Tensor,
    modulation: Tensor,
    first: int,
    eps: float,
    *,
    quantized: bool = False,
) -> tuple[Tensor, Rows]:
    """Return hidden + update, and its layer norm * (1 + scale) + shift."""
    total, out = torch.empty_like(hidden), _rows_like(hidden, quantized)
    _launch(hidden, update, out, total, table, modulation, first, eps, gated=False)
    return total, out


def _rows_like(x: Tensor, quantized: bool) -> Rows:
    return QuantizedRows.like(x) if quantized else torch.empty_like(x)


def _launch(
    x: Tensor,
    update: Tensor | None,
    out: Rows | None,
    total: Tensor | None,
    table: Tensor,
    modulation: Tensor,
    first: int,
    eps: float,
    *,
    affine: tuple[Tensor, Tensor] | None = None,
    gated: bool = True,
) -> None:
    dim = x.shape[-1]
    weight, bias = affine or (x, x)
    normed, scales = out if isinstance(out, QuantizedRows) else (out, None)
    _add_norm[(x.numel() // dim,)](
        x,
        x if update is None else update,
        x if normed is None else normed,
        x if scales is None else scales,
        x if total is None else total,
        weight,
        bias,
        table,
        modulation,
        first * dim,
        dim,
        eps,
        has_update=update is not None,
        gated=gated,
        has_total=total is not None,
        has_norm=out is not None,
        affine=affine is not None,
        quantized=scales is not None,
        block=triton.next_power_of_2(dim),
        num_warps=8,
    )


@triton.jit  # type: ignore[untyped-decorator]  # Triton is untyped
def _add_norm(  # type: ignore[no-untyped-def]  # a kernel's arguments are pointers and numbers
    x,
    update,
    out,
    scales,
    total,
    weight,
    bias,
    table,
    modulation,
    first,
    dim,
    eps,
    has_update: tl.constexpr,
    gated: tl.constexpr,
    has_total: tl.constexpr,
    has_norm: tl.constexpr,
    affine: tl.constexpr,
    quantized: tl.constexpr,
    block: tl.constexpr,
):
    column = tl.arange(0, block)
    inside = column < dim
    at = tl.program_id(0).to(tl.int64) * dim + column
    stored = tl.load(x + at, inside, 0.0)
    dtype = stored.dtype
    value = stored.to(tl.float32)
    table_row, modulation_row = table + first + column, modulation + first + column
    if has_update:
        added = tl.load(update + at, inside, 0.0).to(tl.float32)
        if gated:
            gate = tl.load(table_row + 2 * dim, inside, 0.0).to(tl.float32)
            added *= gate + tl.load(modulation_row + 2 * dim, inside, 0.0).to(tl.float32)
        value = (value + added).to(dtype).to(tl.float32)
    if has_total:
        tl.store(total + at, value.to(dtype), inside)
    if has_norm:
        mean = tl.sum(value, 0) / dim
        centred = tl.where(inside, value - mean, 0.0)
        value = centred / tl.sqrt(tl.sum(centred * centred, 0) / dim + eps)
        if affine:
            value = value * tl.load(weight + column, inside, 0.0).to(tl.float32)
            value += tl.load(bias + column, inside, 0.0).to(tl.float32)
        else:
            shift = tl.load(table_row, inside, 0.0).to(tl.float32)
            shift += tl.load(modulation_row, inside, 0.0).to(tl.float32)
            scale = tl.load(table_row + dim, inside, 0.0).to(tl.float32)
            scale += tl.load(modulation_row + dim, inside, 0.0).to(tl.float32)
            value = value * (1 + scale) + shift
        if quantized:
            store_quantized(out + at, scales + tl.program_id(0), value, inside)
        else:
            tl.store(out + at, value.to(dtype), inside)


def rms_norm_rotated(
    x: Tensor, weight: Tensor | None, eps: float, heads: int, rotary: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Normalise x [1, tokens, dim] over dim, multiply by `weight` [dim], and rotate adjacent channels of every head.

    weight  None: no norm.
    rotary  cos and sin, float32 [1, tokens, 1, head_dim / 2]; None: no rotation.
    Returns [1, tokens, heads, head_dim].
    """
    out = torch.empty_like(x)
    dim = x.shape[-1]
    cos, sin = rotary or (x, x)
    _rms_norm_rotated[(x.numel() // dim,)](
        x,
        out,
        x if weight is None else weight,
        cos,
        sin,
        dim // 2,
        dim // heads // 2,
        eps,
        has_norm=weight is not None,
        has_rotary=rotary is not None,
        block=triton.next_power_of_2(dim // 2),
        num_warps=8,
    )
    split: Tensor = out.unflatten(-1, (heads, -1))
    return split


@triton.jit  # type: ignore[untyped-decorator]  # Triton is untyped
def _rms_norm_rotated(  # type: ignore[no-untyped-def]  # a kernel's arguments are pointers and numbers
    x,
    out,
    weight,
    cos,
    sin,
    pairs,
    head_pairs,
    eps,
    has_norm: tl.constexpr,
    has_rotary: tl.constexpr,
    block: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    pair = tl.arange(0, block)
    inside = pair < pairs
    at = 2 * (token * pairs + pair)
    even = tl.load(x + at, inside, 0.0)
    odd = tl.load(x + at + 1, inside, 0.0)
    dtype = even.dtype
    even, odd = even.to(tl.float32), odd.to(tl.float32)
    if has_norm:
        inverse = 1 / tl.sqrt(tl.sum(even * even + odd * odd, 0) / (2 * pairs) + eps)
        even = even * inverse * tl.load(weight + 2 * pair, inside, 0.0).to(tl.float32)
        odd = odd * inverse * tl.load(weight + 2 * pair + 1, inside, 0.0).to(tl.float32)
    if has_rotary:
        angle = token * head_pairs + pair % head_pairs
        c, s = tl.load(cos + angle, inside, 0.0), tl.load(sin + angle, inside, 0.0)
        even, odd = even * c - odd * s, even * s + odd * c
    tl.store(out + at, even.to(dtype), inside)
    tl.store(out + at + 1, odd.to(dtype), inside)
