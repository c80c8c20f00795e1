"""Attaches LoRAs as side branches (PEFT adapters), whose scales can change during a render.

Differences of biases, norms and whole weights cannot be side branches. They are added again at every change of scale.
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
    """Return a name that is unique within the job (file names may repeat) and has no dots (PEFT forbids them)."""
    return f"lora{index}_{re.sub(r'[^A-Za-z0-9_]', '_', lora.path.stem)}"


@torch.no_grad()
def attach(model: Any, lora: Lora, name: str) -> None:
    """Add the pairs of `lora` as the adapter `name`, in each layer's dtype and device, and make it the only active one.

    Its scale is 1. alpha / rank is part of B, so that the scales of `set_adapters` need no correction by rank.
    """
    halves: dict[str, Tensor] = {}
    for module, pair in lora.pairs.items():
        a, b = _shaped(pair, model.get_submodule(module))
        halves |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    if not halves:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # more than one adapter is intended
        warnings.filterwarnings("ignore", "TorchaoLoraLinear was instantiated")  # nothing is merged into fp8
        # PEFT matches whole names, but warns about equal endings: a VACE model has more than one `proj_out`.
        warnings.filterwarnings("ignore", "While injecting the PEFT adapters, an inconsistency")
        model.load_lora_adapter(halves, prefix=None, adapter_name=name)
    branched = {module for module, layer in model.named_modules() if name in getattr(layer, "lora_A", ())}
    assert branched == lora.pairs.keys(), f"{name}: PEFT attached other modules: {branched ^ lora.pairs.keys()}"
    for module, pair in lora.pairs.items():
        layer = model.get_submodule(module)
        assert layer.lora_alpha[name] == layer.r[name] == pair.rank, f"{module}: PEFT would rescale the branch"
        for half, key in ((layer.lora_A, "lora_A"), (layer.lora_B, "lora_B")):
            half[name].weight.data = halves[f"{module}.{key}.weight"].to(layer.weight.device).to(layer.weight.dtype)
    model.eval().requires_grad_(False)


def _shaped(pair: Pair, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return float32 A and B on the CPU, in the shapes of a linear or convolution layer like `layer`."""
    a, b = pair.matrices(torch.device("cpu"))
    weight: Tensor = layer.weight  # type: ignore[assignment]  # a layer, or PEFT's wrapper of it
    b = b * pair.factor
    return a.reshape(-1, *weight.shape[1:]), b.reshape(*b.shape, *(1 for _ in weight.shape[2:]))


@dataclass(frozen=True, slots=True, eq=False)
class _ChangedParameter:
    """A parameter that LoRAs add to. diffs: (index of the LoRA, float32 on the parameter's device)."""

    parameter: nn.Parameter
    original: Tensor
    diffs: tuple[tuple[int, Tensor], ...]


class ChangedParameters:
    """The parameters of `model` that any of `loras` has a whole difference for, with their original values."""

    def __init__(self, model: nn.Module, loras: Sequence[Lora]) -> None:
        names = dict.fromkeys(name for lora in loras for name in lora.diffs)
        self._changed = [_changed(model.get_parameter(name), name, loras) for name in names]

    @torch.no_grad()
    def set(self, scales: Sequence[float]) -> None:
        """Set each parameter to its original value plus the scaled differences, summed in float32 and rounded once.

        scales  one for each LoRA; with all at 0 the original values return exactly.
        """
        if any(changed.parameter.is_pinned() for changed in self._changed):
            torch.cuda.synchronize()  # offloaded weights: copies to the device that are still running must finish first
        for changed in self._changed:
            total = changed.original.float()
            for index, diff in changed.diffs:
                total = torch.add(total, diff, alpha=scales[index])
            changed.parameter.copy_(total)


def _changed(parameter: nn.Parameter, name: str, loras: Sequence[Lora]) -> _ChangedParameter:
    diffs = tuple((i, lora.diffs[name].to(parameter.device)) for i, lora in enumerate(loras) if name in lora.diffs)
    return _ChangedParameter(parameter, parameter.detach().clone(), diffs)
