"""The kernels over rows of tokens against plain torch, for sizes that do not fill a block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton exists for Linux")

from scope_batch.engine.rope import RotaryTable, rotate
from scope_batch.kernels.token_rows import (
    add_gated,
    add_gated_norm,
    add_modulated_norm,
    modulated_norm,
    rms_norm_rotated,
)

EPS = 1e-6
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SIZES = [(1, 4), (5, 24), (3, 136)]


def rows(tokens: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return hidden states, an update, a table and a modulation."""
    generator = torch.Generator().manual_seed(tokens * dim)
    shapes = ((1, tokens, dim), (1, tokens, dim), (1, 6, dim), (1, 6, dim))
    hidden, update, table, modulation = (torch.randn(shape, generator=generator) for shape in shapes)
    return hidden, update, table, modulation


def modulate(x: Tensor, table: Tensor, modulation: Tensor, first: int) -> Tensor:
    shift, scale = (table + modulation)[:, first : first + 2].unbind(1)
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("first", [0, 3])
def test_a_norm_is_scaled_and_shifted_by_rows_of_the_modulation(size: tuple[int, int], first: int) -> None:
    hidden, _, table, modulation = rows(*size)
    made = modulated_norm(hidden, table, modulation, first, EPS)
    torch.testing.assert_close(made, modulate(hidden, table, modulation, first), **CLOSE)


@pytest.mark.parametrize("size", SIZES)
def test_an_update_is_added_through_the_gate(size: tuple[int, int]) -> None:
    hidden, update, table, modulation = rows(*size)
    made = add_gated(hidden, update, table, modulation, 3)
    torch.testing.assert_close(made, hidden + update * (table + modulation)[:, 5], **CLOSE)


@pytest.mark.parametrize("size", SIZES)
def test_the_sum_is_returned_with_its_affine_norm(size: tuple[int, int]) -> None:
    hidden, update, table, modulation = rows(*size)
    weight, bias = table[0, 0].contiguous(), table[0, 1].contiguous()
    total, normed = add_gated_norm(hidden, update, table, modulation, 0, (weight, bias), EPS)
    expected = hidden + update * (table + modulation)[:, 2]
    torch.testing.assert_close(total, expected, **CLOSE)
    torch.testing.assert_close(normed, F.layer_norm(expected, (size[1],), weight, bias, EPS), **CLOSE)


@pytest.mark.parametrize("size", SIZES)
def test_the_sum_is_returned_with_its_modulated_norm(size: tuple[int, int]) -> None:
    hidden, update, table, modulation = rows(*size)
    total, normed = add_modulated_norm(hidden, update, table, modulation, 3, EPS)
    torch.testing.assert_close(total, hidden + update, **CLOSE)
    torch.testing.assert_close(normed, modulate(hidden + update, table, modulation, 3), **CLOSE)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_queries_are_normalised_over_all_heads_and_rotated_in_pairs(normed: bool, rotated: bool) -> None:
    heads, rotary = 3, RotaryTable(16, 2, 3, 1, torch.device("cpu")).at([5])
    x, _, table, _ = rows(6, heads * 16)
    weight = table[0, 0].contiguous()
    made = rms_norm_rotated(x, weight if normed else None, EPS, heads, rotary if rotated else None)
    expected = (F.rms_norm(x, x.shape[-1:], weight, EPS) if normed else x).unflatten(2, (heads, -1))
    torch.testing.assert_close(made, rotate(expected, rotary) if rotated else expected, **CLOSE)


def test_sums_are_float32_and_rounded_once() -> None:
    # float16, because Triton's interpreter truncates to bfloat16, which a GPU does not.
    hidden, update, table, modulation = (tensor.half() for tensor in rows(4, 24))
    made = add_gated(hidden, update, table, modulation, 0)
    expected = hidden.float() + update.float() * (table.float() + modulation.float())[:, 2]
    assert torch.equal(made, expected.half())
