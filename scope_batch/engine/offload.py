"""Keeps the transformer's blocks in host memory, or on the device in fp8, when device memory is short.

diffusers' group offload does not fit: it prefetches in the order of an earlier pass, but VACE's blocks run only in some
passes. Here blocks always run in the order of the list, and a pass begins with the first block. Two device buffers
alternate, so that the next block is copied while one computes. The host never waits: a copy waits on the device until
the computation that used its buffer is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.hooks import apply_layerwise_casting
from torch import Tensor, nn

from scope_batch.core.engine import EngineRequest
from scope_batch.errors import UnavailableError
from scope_batch.events import Report, Warned

ALIGNMENT_BYTES = 256
SLOTS = 2


class BlockOffload:
    """Registers forward hooks that copy a block's weights to the device for its forward, and prefetch the next block's.

    `blocks` must always run in this order, all of them or none, and nothing else may move them. Between passes, also
    after a pass that failed, the parameters are in pinned host memory and may be written to.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self._spans = [_spans(block) for block in blocks]
        size = max((spans[-1][2] for spans in self._spans if spans), default=0)
        self._host = [_to_host(spans, device) for spans in self._spans]
        self._slots = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(SLOTS)]
        self._cuda = device.type == "cuda"
        self._copies: Any = torch.cuda.Stream(device) if self._cuda else None
        self._ready: list[Any] = [torch.cuda.Event() if self._cuda else None for _ in range(SLOTS)]
        self._free: list[Any] = [torch.cuda.Event() if self._cuda else None for _ in range(SLOTS)]
        self._held: list[int | None] = [None] * SLOTS
        for index, block in enumerate(blocks):
            block.register_forward_pre_hook(lambda *_, index=index: self._enter(index))
            block.register_forward_hook(lambda *_, index=index: self._leave(index), always_call=True)

    def _enter(self, index: int) -> None:
        if index == 0:
            self._held = [None] * SLOTS  # parameters may have changed since the last pass
        if index not in self._held:
            self._fetch(index, 0)
        slot = self._held.index(index)
        if self._cuda:
            torch.cuda.current_stream().wait_event(self._ready[slot])
        for parameter, start, end in self._spans[index]:
            parameter.data = _view(self._slots[slot], parameter, start, end)
        if index + 1 < len(self._spans):
            self._fetch(index + 1, 1 - slot)

    def _leave(self, index: int) -> None:
        slot = self._held.index(index)
        if self._cuda:
            self._free[slot].record()
        for parameter, start, end in self._spans[index]:
            parameter.data = _view(self._host[index], parameter, start, end)

    def _fetch(self, index: int, slot: int) -> None:
        self._held[slot] = index
        host = self._host[index]
        if not self._cuda:
            self._slots[slot][: len(host)].copy_(host)
            return
        self._copies.wait_event(self._free[slot])
        with torch.cuda.stream(self._copies):
            self._slots[slot][: len(host)].copy_(host, non_blocking=True)
            self._ready[slot].record()


ParameterSpan = tuple[nn.Parameter, int, int]
"""A parameter, and the start and end of its bytes in the block's buffer."""


def _spans(block: nn.Module) -> list[ParameterSpan]:
    spans: list[ParameterSpan] = []
    start = 0
    for parameter in block.parameters():
        end = start + parameter.numel() * parameter.element_size()
        spans.append((parameter, start, end))
        start = -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return spans


def _to_host(spans: Sequence[ParameterSpan], device: torch.device) -> Tensor:
    """Move all of a block's parameters into one host buffer."""
    size = spans[-1][2] if spans else 0
    host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for parameter, start, end in spans:
        view = _view(host, parameter, start, end)
        view.copy_(parameter.data)
        parameter.data = view
    return host


def _view(memory: Tensor, parameter: nn.Parameter, start: int, end: int) -> Tensor:
    return memory[start:end].view(parameter.dtype).view(parameter.shape)


RESERVE_BYTES = 1 << 30
"""Device memory that is left free for the CUDA context, cuDNN and other processes."""
_STORAGE = torch.float8_e4m3fn
_NOT_CAST = ("norm", "lora_")
"""Parts of the names of modules that stay in `dtype`: small ones, and LoRAs, whose scales change."""


def choose_low_vram(request: EngineRequest, device: torch.device, report: Report) -> str:
    """Resolve the option `--low-vram` to "off", "on" or "cast". Warns if "auto" means "on", or if "on" has no effect.

    Raises UnavailableError if "on" or "cast" is combined with fp8 weights.
    """
    option = request.low_vram
    fp8 = "quantization" if request.quantization else "speed: high" if request.speed == "high" else None
    if fp8 and option in ("on", "cast"):
        raise UnavailableError(f"--low-vram {option} cannot be combined with {fp8}; allowed: off, auto")
    if option == "on" and device.type == "cpu":
        report(Warned("--low-vram on has no effect on a CPU: weights are in host memory already"))
        return "off"
    if option != "auto":
        return option
    if device.type == "cpu" or not request.expected_bytes or fp8:
        return "off"
    return _choose_by_memory(request.expected_bytes, torch.cuda.mem_get_info(device)[0], report)


def _choose_by_memory(expected_bytes: int, free_bytes: int, report: Report) -> str:
    if expected_bytes + RESERVE_BYTES <= free_bytes:
        return "off"
    report(
        Warned(
            f"--low-vram auto: the forecast is {expected_bytes / 1e9:.1f} GB and {free_bytes / 1e9:.1f} GB of device "
            "memory are free, so the transformer's blocks stay in host memory (same frames, but slower)"
        )
    )
    return "on"


def apply_low_vram(choice: str, transformer: Any, dtype: torch.dtype, device: torch.device) -> None:
    """Register the hooks, which stay for the life of `transformer`. Call it after all LoRAs are attached."""
    chains = [transformer.blocks, *([transformer.vace_blocks] if hasattr(transformer, "vace_blocks") else [])]
    for blocks in chains:
        if choice == "on":
            BlockOffload(blocks, device)
        elif choice == "cast":
            _cast(blocks, dtype)


def _cast(blocks: Any, dtype: torch.dtype) -> None:
    """Store linear layers in fp8 without a scale, and cast them to `dtype` for their own forward."""
    for block in blocks:
        apply_layerwise_casting(block, _STORAGE, dtype, skip_modules_pattern=_NOT_CAST)
