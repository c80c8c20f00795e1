"""LoRAs as side branches (PEFT adapters) beside the weights."""

from __future__ import annotations

from typing import Any

import torch

from scope_batch.models.lora import Pairs

BUILTIN_ADAPTER = "builtin"
"""Name of the pipeline's own LoRA when it stays a side branch; it comes first in every list of adapters."""


def attach_builtin(model: Any, pairs: Pairs, dtype: torch.dtype, device: torch.device) -> None:
    """PEFT side branches with scaling 1; PEFT would take alpha from the most common rank."""
    halves = {f"{m}.lora_{h}.weight": t.float() for m, ab in pairs.items() for h, t in zip("AB", ab, strict=True)}
    model.load_lora_adapter(halves, prefix=None, adapter_name=BUILTIN_ADAPTER)
    for module, (a, b) in pairs.items():
        layer = model.get_submodule(module)
        layer.scaling[BUILTIN_ADAPTER] = 1.0
        for half, tensor in ((layer.lora_A, a), (layer.lora_B, b)):
            half[BUILTIN_ADAPTER].weight.data = tensor.to(device).to(dtype)
