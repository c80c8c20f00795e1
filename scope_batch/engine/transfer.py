"""Between host and device without waiting: through pinned memory, which torch hands out again once the copy is done."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_host(tensor: Tensor) -> Tensor:
    """Start copying; on the CPU the tensor is there already."""
    if tensor.device.type != "cuda":
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Start copying; on the CPU the array's own memory, or a copy where torch cannot use it (a read-only view)."""
    return send(torch.from_numpy(np.require(array, requirements=["C", "W"])), device)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Start copying a tensor of the host; on the CPU the tensor itself."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
