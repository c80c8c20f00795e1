"""The kernels that quantize rows against plain torch, for sizes that do not fill a block.

Triton's interpreter loses the carry when it rounds up to a power of two, and knows no NaN; tests/gpu has these.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton exists for Linux")

from scope_batch.kernels.quantized_rows import E4M3, QuantizedRows, quantize_rows, to_e4m3
from scope_batch.kernels.token_rows import add_gated_norm, add_modulated_norm, modulated_norm
from tests.kernels.test_token_rows import EPS, SIZES, rows


def assert_close(made: QuantizedRows, expected: Tensor) -> None:
    """Equal to one step of e4m3 (1/8 of a number), because of the order of sums."""
    largest = expected.abs().amax(-1, keepdim=True)
    torch.testing.assert_close(made.scales, largest[0] / 448, rtol=1e-5, atol=0)
    assert made.values.dtype == E4M3 and made.values.shape == expected.shape
    rounded = (expected / made.scales).to(E4M3).float()
    by_carry = rounded.frexp().mantissa.abs() == 0.5
    error = (made.values.float() - rounded).abs()
    assert (error <= rounded.abs() / 8 + 2**-9)[~by_carry].all()


@pytest.mark.parametrize("size", [*SIZES, (2, 5000)])
@pytest.mark.parametrize("gelu", [False, True])
def test_every_row_has_the_scale_of_its_largest_number(size: tuple[int, int], gelu: bool) -> None:
    x = rows(*size)[0] * torch.logspace(-3, 0, size[0])[:, None]
    assert_close(quantize_rows(x, gelu=gelu), F.gelu(x, approximate="tanh") if gelu else x)


def test_a_row_of_zeros_stays_zero() -> None:
    made = quantize_rows(torch.zeros(1, 2, 16))
    assert not made.values.float().any() and (made.scales > 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_norms_are_quantized_as_they_are_computed(size: tuple[int, int]) -> None:
    hidden, update, table, modulation = rows(*size)
    affine = table[0, 0].contiguous(), table[0, 1].contiguous()

    def norms(*, quantized: bool) -> list[Tensor | QuantizedRows]:
        plain = modulated_norm(hidden, table, modulation, 0, EPS, quantized=quantized)
        total, gated = add_gated_norm(hidden, update, table, modulation, 0, affine, EPS, quantized=quantized)
        other, added = add_modulated_norm(hidden, update, table, modulation, 3, EPS, quantized=quantized)
        return [total, other, plain, gated, added]

    expected, made = norms(quantized=False), norms(quantized=True)
    assert torch.equal(made[0], expected[0]) and torch.equal(made[1], expected[1])
    for one, other in zip(made[2:], expected[2:], strict=True):
        assert_close(one, other)


def test_numbers_are_rounded_to_e4m3_and_large_ones_are_clamped() -> None:
    x = torch.tensor([[0.0, 1.0, -3.5, 447.0, 1e4, -1e4]])
    made = to_e4m3(x).float()
    torch.testing.assert_close(made, x.clamp(-448, 448), rtol=1 / 8, atol=0)
    assert made[0, 4:].tolist() == [448, -448]
