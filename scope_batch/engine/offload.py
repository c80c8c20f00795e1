"""Blocks whose weights wait in host memory and come to the device for their own forward, the next ones meanwhile.

diffusers' group offload does the same, but looks ahead along an order of modules traced once; VACE's blocks run in some
passes and not in others. Here the order is that of the list, and a pass begins with its first block. No thread ever
waits: two slots of device memory take turns, and copies wait for the computation that used the slot on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

ALIGNMENT_BYTES = 256
SLOTS = 2


class BlockOffload:
    """Hooks on `blocks`, which always run in this order, whole passes or none. They must be moved nowhere else.

    After the hooks are there a parameter lies in pinned host memory; it may be written to between passes, also
    after one that broke off.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self._places = [_places(block) for block in blocks]
        size = max((places[-1][2] for places in self._places if places), default=0)
        self._host = [_to_host(places, device) for places in self._places]
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
            self._held = [None] * SLOTS  # a parameter may have changed since the last pass
        if index not in self._held:
            self._fetch(index, 0)
        slot = self._held.index(index)
        if self._cuda:
            torch.cuda.current_stream().wait_event(self._ready[slot])
        for parameter, start, end in self._places[index]:
            parameter.data = _view(self._slots[slot], parameter, start, end)
        if index + 1 < len(self._places):
            self._fetch(index + 1, 1 - slot)

    def _leave(self, index: int) -> None:
        slot = self._held.index(index)
        if self._cuda:
            self._free[slot].record()
        for parameter, start, end in self._places[index]:
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


Place = tuple[nn.Parameter, int, int]
"""A parameter and its bytes from start to end."""


def _places(block: nn.Module) -> list[Place]:
    places: list[Place] = []
    start = 0
    for parameter in block.parameters():
        end = start + parameter.numel() * parameter.element_size()
        places.append((parameter, start, end))
        start = -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return places


def _to_host(places: Sequence[Place], device: torch.device) -> Tensor:
    """One stretch of memory with all of a block's parameters, which from now on lie there."""
    size = places[-1][2] if places else 0
    host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for parameter, start, end in places:
        here = _view(host, parameter, start, end)
        here.copy_(parameter.data)
        parameter.data = here
    return host


def _view(memory: Tensor, parameter: nn.Parameter, start: int, end: int) -> Tensor:
    return memory[start:end].view(parameter.dtype).view(parameter.shape)
