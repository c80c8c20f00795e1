"""Triton kernels for CUDA devices. Import its modules only where `reason_against` returns None."""

from __future__ import annotations

from importlib.util import find_spec

import torch

CAPABILITY = 8, 0
"""The compute capability that the kernels need: bfloat16 came with it."""


def reason_against(device: torch.device) -> str | None:
    """Return why the kernels do not run on the device; None if they do."""
    if device.type != "cuda":
        return "they need a CUDA device"
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < CAPABILITY:
        return f"they need compute capability {'.'.join(map(str, CAPABILITY))}, the device has {major}.{minor}"
    return None if find_spec("triton") else "the package triton is not installed"
