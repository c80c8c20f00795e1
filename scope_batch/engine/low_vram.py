"""`--low-vram`: what of the backbone is not on the device all the time, and in which form it waits."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks import apply_layerwise_casting

from scope_batch.engine.offload import BlockOffload
from scope_batch.errors import UnavailableError
from scope_batch.events import Report, Warned
from scope_batch.session import EngineRequest

RESERVE_BYTES = 1 << 30
"""Left to the CUDA context, cuDNN and whoever else computes."""
_STORAGE = torch.float8_e4m3fn
_NOT_CAST = ("norm", "lora_")
"""Small, or moved while they are stored."""


def choose(request: EngineRequest, device: torch.device, report: Report) -> str:
    """ "off", "on" or "cast" for what was asked; what "auto" chose, and an "on" without effect, is reported.

    Raises UnavailableError where low memory and quantization exclude each other.
    """
    asked = request.low_vram
    if request.quantization and asked in ("on", "cast"):
        raise UnavailableError(f"--low-vram {asked} cannot be combined with quantization; allowed: off, auto")
    if asked == "on" and device.type == "cpu":
        report(Warned("--low-vram on has no effect on a CPU: there is no other memory that weights could wait in"))
        return "off"
    if asked != "auto":
        return asked
    if device.type == "cpu" or not request.expected_bytes or request.quantization:
        return "off"
    return _fitting(request.expected_bytes, torch.cuda.mem_get_info(device)[0], report)


def _fitting(expected_bytes: int, free_bytes: int, report: Report) -> str:
    if expected_bytes + RESERVE_BYTES <= free_bytes:
        return "off"
    report(
        Warned(
            f"--low-vram auto: the forecast is {expected_bytes / 1e9:.1f} GB and {free_bytes / 1e9:.1f} GB of device "
            "memory are free: the transformer's blocks wait in host memory (the same frames, slower)"
        )
    )
    return "on"


def apply(choice: str, transformer: Any, dtype: torch.dtype, device: torch.device) -> None:
    """After all LoRAs are attached; `transformer` keeps the hooks for good."""
    chains = [transformer.blocks, *([transformer.vace_blocks] if hasattr(transformer, "vace_blocks") else [])]
    for blocks in chains:
        if choice == "on":
            BlockOffload(blocks, device)
        elif choice == "cast":
            cast(blocks, dtype)


def cast(blocks: Any, dtype: torch.dtype) -> None:
    """Linear layers are stored in fp8 without a scale, and widened to `dtype` for their own forward."""
    for block in blocks:
        apply_layerwise_casting(block, _STORAGE, dtype, skip_modules_pattern=_NOT_CAST)
