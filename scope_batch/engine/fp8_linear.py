"""Multiplies in fp8 in the linear layers of the transformer's blocks, for `speed: high`.

Weights and activations are e4m3. Every row has its own scale: an output's weights, once, and a token's numbers, anew in
every pass. Products are summed in float32 and rounded to bfloat16. Side branches of LoRAs stay in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scope_batch.kernels.quantized_rows import E4M3, LARGEST, SMALLEST_ROW, QuantizedRows, quantize_rows


class Fp8Linear(nn.Module):
    """Replaces a linear layer. Its weight is a buffer, e4m3 [out, in] with `scales` float32 [1, out]."""

    weight: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(1, keepdim=True).clamp_min(SMALLEST_ROW.value) / LARGEST.value
        self.register_buffer("weight", (weight / scales).to(E4M3))
        self.register_buffer("scales", scales.t().contiguous())
        self.bias = linear.bias

    def forward(self, x: Tensor | QuantizedRows) -> Tensor:
        """Map [1, tokens, in], bfloat16 or quantized, to bfloat16 [1, tokens, out]."""
        values, scales = x if isinstance(x, QuantizedRows) else quantize_rows(x.contiguous())
        out = torch._scaled_mm(
            values.flatten(0, 1),
            self.weight.t(),
            scale_a=scales,
            scale_b=self.scales,
            bias=self.bias,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        split: Tensor = out.unflatten(0, values.shape[:2])
        return split


def use_fp8_linears(transformer: Any) -> None:
    """Replace the linear layers of all blocks. Call it after LoRAs are merged or attached."""
    for blocks in (transformer.blocks, getattr(transformer, "vace_blocks", ())):
        for block in blocks:
            found = [(name, module) for name, module in block.named_modules() if type(module) is nn.Linear]
            for name, module in found:
                if ".lora_" not in name:
                    parent, _, child = name.rpartition(".")
                    setattr(block.get_submodule(parent), child, Fp8Linear(module))
