"""The fused blocks in fp8 against diffusers' blocks in float32, on the CPU by Triton's interpreter.

The interpreter halves numbers that are rounded up to a power of two, so the bound finds faults of the wiring alone;
tests/gpu has the errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("triton", reason="Triton exists for Linux")

from scope_batch.engine.cache_policy import RollingPolicy
from scope_batch.engine.fp8_linear import Fp8Linear
from scope_batch.engine.fused_blocks import use_fused_blocks
from scope_batch.engine.lora_scales import LoraScales
from scope_batch.engine.transformer import CausalWan
from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.kernels.quantized_rows import QuantizedRows
from scope_batch.models.lora.weights import Lora, Pair
from tests.engine.test_fused_blocks import WINDOW, flows

SIZES: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "ffn_dim": 48,
    "num_layers": 2,
    "text_dim": 16,
    "freq_dim": 16,
}
BOUND = 0.2


def new_model(kind: Any = CausalWan, **sizes: Any) -> Any:
    torch.manual_seed(0)
    model = kind(**SIZES, **sizes).eval().requires_grad_(False)
    for block in model.blocks:
        block.scale_shift_table.normal_()
    return model


def assert_near(made: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(made, expected, strict=True):
        assert (one.float() - other).norm() < BOUND * other.norm()


@pytest.mark.parametrize("vace", [False, True])
def test_blocks_in_fp8_compute_what_they_did(vace: bool) -> None:
    kind, sizes = (CausalVaceWan, {"vace_layers": [0, 1]}) if vace else (CausalWan, {})
    expected = flows(new_model(kind, **sizes), RollingPolicy(WINDOW), vace=vace)
    model = new_model(kind, **sizes).bfloat16()
    use_fused_blocks(model, fp8=True)
    assert_near(flows(model, RollingPolicy(WINDOW), vace=vace), expected)


def test_queries_keys_and_values_share_what_the_norm_quantized() -> None:
    model, seen = new_model().bfloat16(), list[Any]()
    use_fused_blocks(model, fp8=True)
    block = model.blocks[0]
    for layer in (block.attn1.to_q, block.attn1.to_k, block.attn1.to_v, block.ffn.net[0].proj, block.ffn.net[2]):
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    flows(model, RollingPolicy(WINDOW))
    assert all(isinstance(rows, QuantizedRows) for rows in seen) and seen[0] is seen[1] is seen[2]


def test_a_side_branch_stays_in_bfloat16_and_its_scale_can_change() -> None:
    torch.manual_seed(1)
    layers = ("attn1.to_k", "attn2.to_q", "ffn.net.0.proj")
    sides = {name: new_model().blocks[0].get_submodule(name).weight.shape for name in layers}
    pairs = {
        f"blocks.0.{name}": Pair(torch.randn(4, inputs), torch.randn(outputs, 4) * 0.1, 1.0)
        for name, (outputs, inputs) in sides.items()
    }
    made, expected = list[list[Tensor]](), list[list[Tensor]]()
    for fp8, results in ((True, made), (False, expected)):
        model = new_model().bfloat16() if fp8 else new_model()
        scales = LoraScales(model, {0: Lora(Path("x.safetensors"), pairs, {})})
        if fp8:
            use_fused_blocks(model, fp8=True)
            layer = model.blocks[0].attn1.to_k
            assert isinstance(layer.base_layer, Fp8Linear) and type(layer.lora_A["lora0_x"]) is nn.Linear
        for scale in (1.0, -1.0):
            scales.set((scale,))
            results.append(flows(model, RollingPolicy(WINDOW)))
    for one, other in zip(made, expected, strict=True):
        assert_near(one, other)
    assert (expected[0][1] - expected[1][1]).norm() > 2 * BOUND * expected[0][1].norm()
