"""What side branches cannot do: biases, norms and whole weights that a LoRA moves, added anew for every scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scope_batch.models.lora import Lora


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
