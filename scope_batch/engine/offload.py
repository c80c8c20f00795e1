"""Keeps the transformer's blocks in host memory, or on the device in fp8, when device memory is short.

diffusers' group offload also moves weights in and out, but it prefetches along an order of modules that it traced once;
VACE's blocks run in some passes and not in others. Here the order is that of the list, and a pass begins with its first
block. The host never waits: two device buffers take turns, and copies wait on the device for the computation that used
the buffer.
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
    """Forward hooks that bring each block's weights to the device for its own forward, and prefetch the next block's.

    `blocks` must always run in this order, all of them or none, and nothing else may move them. Once the hooks are
    registered the parameters lie in pinned host memory; they may be written to between passes, also after a pass that
    failed.
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
"""A parameter, and where its bytes start and end in the block's buffer."""


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
        moved = _view(host, parameter, start, end)
        moved.copy_(parameter.data)
        parameter.data = moved
    return host


def _view(memory: Tensor, parameter: nn.Parameter, start: int, end: int) -> Tensor:
    return memory[start:end].view(parameter.dtype).view(parameter.shape)


RESERVE_BYTES = 1 << 30
"""Left free for the CUDA context, cuDNN and other processes."""
_STORAGE = torch.float8_e4m3fn
_NOT_CAST = ("norm", "lora_")
"""Small layers, and those whose values change while they are stored."""


def choose_low_vram(request: EngineRequest, device: torch.device, report: Report) -> str:
    """Resolve the option `--low-vram` to "off", "on" or "cast"; warn when "auto" chose "on" or "on" has no effect.

    Raises UnavailableError if it is combined with quantization.
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
