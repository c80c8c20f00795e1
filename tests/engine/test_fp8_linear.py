"""The linear layer in fp8 against float32, and where it replaces a linear layer. A CPU multiplies by rows as well."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("triton", reason="Triton exists for Linux")

from scope_batch.engine.fp8_linear import Fp8Linear, use_fp8_linears
from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.kernels.quantized_rows import E4M3, QuantizedRows
from tests.engine.test_fused_blocks import SIZES

BOUND = 0.045
"""Relative error of a product of normally distributed rows: e4m3 rounds each factor by 2.6 % (root mean square)."""


def by_torch(x: Tensor) -> QuantizedRows:
    """Quantize rows [1, tokens, dim] with plain torch."""
    scales = x.abs().amax(-1, keepdim=True) / 448
    return QuantizedRows((x / scales).to(E4M3), scales[0])


def new_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a layer whose outputs differ in size by up to a million times, more than one scale can hold."""
    torch.manual_seed(0)
    linear = nn.Linear(inputs, outputs).requires_grad_(False)
    linear.weight.mul_(torch.logspace(-5, 1, outputs)[:, None])
    return linear.bfloat16()


@pytest.mark.parametrize(("tokens", "inputs", "outputs"), [(1, 16, 16), (7, 64, 48), (33, 256, 160)])
def test_every_output_and_token_has_the_error_of_its_own_scale(tokens: int, inputs: int, outputs: int) -> None:
    linear = new_linear(inputs, outputs)
    x = torch.randn(1, tokens, inputs) * torch.logspace(-3, 3, tokens)[:, None]
    linear.bias.zero_()
    weight = linear.weight.float()
    made = Fp8Linear(linear)(by_torch(x))
    assert made.dtype == torch.bfloat16 and made.shape == (1, tokens, outputs)
    usual = x[0].norm(dim=1)[:, None] * weight.norm(dim=1) / inputs**0.5
    error = (made[0].float() - x[0] @ weight.T) / usual
    assert error.square().mean().sqrt() < BOUND
    assert error.square().mean(0).sqrt().max() < 3 * BOUND and error.square().mean(1).sqrt().max() < 3 * BOUND


def test_the_bias_is_added_and_is_still_the_layers_own() -> None:
    linear = new_linear(32, 16)
    layer = Fp8Linear(linear)
    before = layer(by_torch(torch.randn(1, 4, 32)))
    linear.bias.add_(2)  # a LoRA with differences of biases does so
    torch.manual_seed(0)
    assert layer.bias is linear.bias and before.isfinite().all()
    zeros = QuantizedRows(torch.zeros(1, 1, 32).to(E4M3), torch.ones(1, 1))
    assert torch.equal(layer(zeros)[0, 0], linear.bias)


def test_a_matrix_of_zeros_gives_the_bias() -> None:
    linear = new_linear(32, 16)
    linear.weight.zero_()
    assert torch.equal(Fp8Linear(linear)(by_torch(torch.randn(1, 1, 32)))[0, 0], linear.bias)


def new_transformer() -> CausalVaceWan:
    torch.manual_seed(0)
    return CausalVaceWan(**SIZES, vace_layers=[0, 1]).eval().requires_grad_(False)


def test_all_linear_layers_of_blocks_are_replaced_and_no_others() -> None:
    model = new_transformer()
    linear = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    use_fp8_linears(model)
    replaced = {name for name, module in model.named_modules() if isinstance(module, Fp8Linear)}
    assert replaced == {name for name in linear if "blocks." in name}
    assert {"vace_blocks.0.proj_in", "blocks.1.ffn.net.2", "blocks.0.attn2.to_k"} < replaced
