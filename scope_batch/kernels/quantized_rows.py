"""Quantizes rows of one token each to float8 e4m3, with one scale per row."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

E4M3 = torch.float8_e4m3fn
LARGEST = tl.constexpr(448.0)
"""The largest number of e4m3."""
SMALLEST_ROW = tl.constexpr(1e-12)
"""A row of smaller numbers is scaled as if it had one of this size, so that no scale is 0."""
CAST_ELEMENTS = 4096
"""Elements that one program casts."""


class QuantizedRows(NamedTuple):
    """Rows of tokens: `values` e4m3 [1, tokens, dim], to be multiplied by `scales` float32 [tokens, 1]."""

    values: Tensor
    scales: Tensor

    @classmethod
    def like(cls, rows: Tensor) -> QuantizedRows:
        """Allocate quantized rows in the shape of `rows` [1, tokens, dim]."""
        tokens = rows.numel() // rows.shape[-1]
        return cls(torch.empty_like(rows, dtype=E4M3), rows.new_empty((tokens, 1), dtype=torch.float32))


def quantize_rows(x: Tensor, *, gelu: bool = False) -> QuantizedRows:
    """Quantize x [1, tokens, dim], contiguous; with `gelu` the GELU of x, by its tanh formula, in float32."""
    rows = QuantizedRows.like(x)
    dim = x.shape[-1]
    block = triton.next_power_of_2(dim)
    _quantize_rows[(len(rows.scales),)](
        x, rows.values, rows.scales, dim, gelu=gelu, block=block, num_warps=8 if block > 4096 else 4
    )
    return rows


@triton.jit  # type: ignore[untyped-decorator]  # Triton is untyped
def _quantize_rows(x, values, scales, dim, gelu: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < dim
    value = tl.load(x + token * dim + column, inside, 0.0).to(tl.float32)
    if gelu:
        value *= tl.sigmoid(1.5957691216057308 * (value + 0.044715 * value * value * value))
    store_quantized(values + token * dim + column, scales + token, value, inside)


@triton.jit
def store_quantized(values, scale_at, value, inside):  # type: ignore[no-untyped-def]  # pointers and numbers
    """Store one row, float32 and 0 outside of `inside`, as e4m3 at the pointers `values`, and its scale."""
    largest = tl.maximum(tl.max(tl.abs(value), 0), SMALLEST_ROW)
    tl.store(scale_at, largest / LARGEST)
    tl.store(values, (value * (LARGEST / largest)).to(values.dtype.element_ty), inside)


def to_e4m3(x: Tensor) -> Tensor:
    """Round a contiguous tensor to e4m3 without a scale; larger numbers than `LARGEST` become `LARGEST`."""
    out = torch.empty_like(x, dtype=E4M3)
    _to_e4m3[(triton.cdiv(x.numel(), CAST_ELEMENTS),)](x, out, x.numel(), block=CAST_ELEMENTS)
    return out


@triton.jit  # type: ignore[untyped-decorator]  # Triton is untyped
def _to_e4m3(x, out, size, block: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    value = tl.load(x + at, at < size, 0.0).to(tl.float32)
    value = tl.clamp(value, -LARGEST, LARGEST, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + at, value.to(out.dtype.element_ty), at < size)
