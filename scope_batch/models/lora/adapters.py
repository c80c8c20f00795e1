"""Applies LoRAs as side branches (PEFT adapters) beside the weights, for scales that change.

Biases, norms and whole weights that a LoRA moves cannot be branches: they are added anew for every scale.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scope_batch.models.lora.weights import Lora, Pair

BUILTIN_ADAPTER = "builtin"
"""Name of the pipeline's own LoRA when it stays a side branch; it comes first in every list of adapters."""


def adapter_name(index: int, lora: Lora) -> str:
    """Unique for each LoRA of a job: files in different folders may have the same name, and dots end a name in PEFT."""
    return f"lora{index}_{re.sub(r'[^A-Za-z0-9_]', '_', lora.path.stem)}"


@torch.no_grad()
def attach(model: Any, lora: Lora, name: str) -> None:
    """Add the pairs of `lora` as the adapter `name`, in each layer's own dtype and device, alone active, scale 1.

    alpha / rank is part of B, so `set_adapters` takes scales as they are, whatever the ranks.
    """
    halves: dict[str, Tensor] = {}
    for module, pair in lora.pairs.items():
        a, b = _shaped(pair, model.get_submodule(module))
        halves |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    if not halves:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are meant
        warnings.filterwarnings("ignore", "TorchaoLoraLinear was instantiated")  # nothing is merged into fp8
        # PEFT goes by whole names, but compares them with their ends: a VACE model has more than one `proj_out`.
        warnings.filterwarnings("ignore", "While injecting the PEFT adapters, an inconsistency")
        model.load_lora_adapter(halves, prefix=None, adapter_name=name)
    branched = {module for module, layer in model.named_modules() if name in getattr(layer, "lora_A", ())}
    assert branched == lora.pairs.keys(), f"{name}: other modules have a branch: {branched ^ lora.pairs.keys()}"
    for module, pair in lora.pairs.items():
        layer = model.get_submodule(module)
        assert layer.lora_alpha[name] == layer.r[name] == pair.rank, f"{module}: scales would not be taken as they are"
        for half, key in ((layer.lora_A, "lora_A"), (layer.lora_B, "lora_B")):
            half[name].weight.data = halves[f"{module}.{key}.weight"].to(layer.weight.device).to(layer.weight.dtype)
    model.eval().requires_grad_(False)


def _shaped(pair: Pair, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """float32 A and B as layers of the kind of `layer` hold them, on the CPU."""
    a, b = pair.matrices(torch.device("cpu"))
    weight: Tensor = layer.weight  # type: ignore[assignment]  # a layer, or PEFT's around it
    b = b * pair.factor
    return a.reshape(-1, *weight.shape[1:]), b.reshape(*b.shape, *(1 for _ in weight.shape[2:]))


@dataclass(frozen=True, slots=True, eq=False)
class _Moved:
    parameter: nn.Parameter
    pristine: Tensor
    diffs: tuple[tuple[int, Tensor], ...]
    """(index of the LoRA, float32 on the parameter's device)."""


class MovedParameters:
    """Parameters of `model` that any of `loras` has a difference for, and their values without it."""

    def __init__(self, model: nn.Module, loras: Sequence[Lora]) -> None:
        names = dict.fromkeys(name for lora in loras for name in lora.diffs)
        self._moved = [_moved(model.get_parameter(name), name, loras) for name in names]

    @torch.no_grad()
    def set(self, scales: Sequence[float]) -> None:
        """scales: one for each LoRA. The sum is computed in float32 and rounded once; at 0 nothing is left of it."""
        if any(moved.parameter.is_pinned() for moved in self._moved):
            torch.cuda.synchronize()  # weights that wait in host memory: copies still under way would read new values
        for moved in self._moved:
            total = moved.pristine.float()
            for index, diff in moved.diffs:
                total = torch.add(total, diff, alpha=scales[index])
            moved.parameter.copy_(total)


def _moved(parameter: nn.Parameter, name: str, loras: Sequence[Lora]) -> _Moved:
    diffs = tuple((i, lora.diffs[name].to(parameter.device)) for i, lora in enumerate(loras) if name in lora.diffs)
    return _Moved(parameter, parameter.detach().clone(), diffs)
