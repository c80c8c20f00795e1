"""LoRAs as part of the weights: computed in float32 from the pristine weights, rounded once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scope_batch.models.lora import Lora

Merge = Sequence[tuple[Lora, float]]
"""LoRAs and their scales, in the order in which they are added."""


def merged(key: str, weight: Tensor, merge: Merge, device: torch.device) -> Tensor:
    """`weight` as it is if no LoRA touches it with a scale other than 0, else its sum with them, float32 on `device`.

    key     of diffusers' model.
    weight  as the file has it.
    """
    touching = [(lora, scale) for lora, scale in merge if scale and (key in lora.diffs or _module(key) in lora.pairs)]
    if not touching:
        return weight
    total = weight.to(device=device, dtype=torch.float32, copy=True).contiguous()
    for lora, scale in touching:
        if (diff := lora.diffs.get(key)) is not None:
            total.add_(diff.to(device), alpha=scale)
        if (pair := lora.pairs.get(_module(key))) is not None:
            a, b = pair.matrices(device)
            total.view(len(total), -1).addmm_(b, a, alpha=scale * pair.factor)
    return total


def _module(key: str) -> str:
    return key.removesuffix(".weight")
