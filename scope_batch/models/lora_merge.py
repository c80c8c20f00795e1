"""LoRAs as part of the weights: computed in float32, rounded once."""

from __future__ import annotations

import torch
from torch import Tensor


def merge(weight: Tensor, a: Tensor, b: Tensor, device: torch.device) -> Tensor:
    wide = {"device": device, "dtype": torch.float32}
    return torch.addmm(weight.to(**wide), b.to(**wide), a.to(**wide))  # type: ignore[call-overload]  # mypy cannot see into **wide
