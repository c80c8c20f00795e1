"""Caches the prompt's keys and values for cross-attention, computed once per prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class TextCache:
    """Keys and values of every layer, [1, 512, heads, head_dim] each.

    A layer's tensors are allocated by the first prompt and overwritten in place by later ones.
    """

    def __init__(self, layers: int, device: torch.device) -> None:
        self._device = device
        self._entries: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._valid = [False] * layers
        self._linked: list[TextCache] = []

    def linked(self, layers: int) -> TextCache:
        """A cache for other layers under the same prompt: invalidated together, filled separately."""
        self._linked.append(TextCache(layers, self._device))
        return self._linked[-1]

    def invalidate(self) -> None:
        """Have the keys and values computed anew in the next pass."""
        self._valid = [False] * len(self._entries)
        for other in self._linked:
            other.invalidate()

    @property
    def valid(self) -> bool:
        return all(self._valid)

    def get(self, layer: int) -> tuple[Tensor, Tensor] | None:
        return self._entries[layer] if self._valid[layer] else None

    def latest(self, layer: int) -> tuple[Tensor, Tensor]:
        """The keys and values that were stored last, even if they have been invalidated."""
        entry = self._entries[layer]
        assert entry is not None, "no prompt was read yet"
        return entry

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store them and return the cache's own tensors."""
        entry = self._entries[layer]
        if entry is None:
            entry = self._entries[layer] = key.clone(), value.clone()
        else:
            entry[0].copy_(key)
            entry[1].copy_(value)
        self._valid[layer] = True
        return entry

    def state(self) -> dict[str, Any]:
        """Keys and values per layer, None for a layer that has read no prompt yet; valid: 0 or 1 per layer."""
        keys, values = ([entry and entry[i] for entry in self._entries] for i in range(2))
        state = {"keys": keys, "values": values, "valid": [int(valid) for valid in self._valid]}
        for index, other in enumerate(self._linked):
            state |= {f"linked{index}.{name}": value for name, value in other.state().items()}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        for layer, (key, value) in enumerate(zip(state["keys"], state["values"], strict=True)):
            if key is None:
                self._entries[layer] = None
            else:
                self.put(layer, key.to(self._device), value.to(self._device))
        self._valid = [bool(valid) for valid in state["valid"]]
        for index, other in enumerate(self._linked):
            prefix = f"linked{index}."
            other.restore({n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)})
