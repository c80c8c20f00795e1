"""Caches the prompt's keys and values for cross-attention, which are computed once per prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

EMPTY: dict[str, list[Any]] = {"keys": [], "values": [], "valid": []}


class TextCache:
    """Keys and values of the prompt for every layer, [1, 512, heads, head_dim] each.

    A layer's tensors are allocated when the first prompt is stored; later prompts overwrite them in place.
    """

    def __init__(self, layers: int, device: torch.device) -> None:
        self._device = device
        self._entries: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._valid = [False] * layers
        self._linked: TextCache | None = None

    def linked(self, layers: int) -> TextCache:
        """Create a second cache, for other layers: `invalidate` clears both, but each is filled by itself."""
        self._linked = TextCache(layers, self._device)
        return self._linked

    def invalidate(self) -> None:
        """Mark all layers as stale, so that the next forward pass recomputes them. Their tensors are kept."""
        self._valid = [False] * len(self._entries)
        if self._linked is not None:
            self._linked.invalidate()

    @property
    def valid(self) -> bool:
        """True if every layer holds the current prompt's keys and values."""
        return all(self._valid)

    def get(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Return the layer's keys and values, or None if they must be recomputed."""
        return self._entries[layer] if self._valid[layer] else None

    def latest(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return the layer's most recent keys and values, even if they are stale."""
        entry = self._entries[layer]
        assert entry is not None, "no prompt has been stored yet"
        return entry

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Copy a layer's keys and values into the cache. Returns the cache's own tensors."""
        entry = self._entries[layer]
        if entry is None:
            entry = self._entries[layer] = key.clone(), value.clone()
        else:
            entry[0].copy_(key)
            entry[1].copy_(value)
        self._valid[layer] = True
        return entry

    def state(self) -> dict[str, Any]:
        """Return keys and values (one tensor per layer) and valid (0 or 1 per layer), or empty lists before any prompt.

        "linked.keys" and so on hold the same of the linked cache, or empty lists if there is none.
        """
        linked = EMPTY if self._linked is None else self._linked._own_state()
        return {**self._own_state(), **{f"linked.{name}": value for name, value in linked.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._restore_own({name: state[name] for name in EMPTY})
        linked = {name: state[f"linked.{name}"] for name in EMPTY}
        if self._linked is not None:
            self._linked._restore_own(linked)
        elif linked != EMPTY:
            raise ValueError(
                "the state has the VACE layers' keys and values of the prompt, but this session has no VACE"
            )

    def _own_state(self) -> dict[str, list[Any]]:
        filled = [entry for entry in self._entries if entry is not None]
        if not filled:
            return EMPTY
        assert len(filled) == len(self._entries), "a pass fills every layer"
        keys, values = ([entry[i] for entry in filled] for i in range(2))
        return {"keys": keys, "values": values, "valid": [int(valid) for valid in self._valid]}

    def _restore_own(self, state: Mapping[str, list[Any]]) -> None:
        self._entries = [None] * len(self._entries) if not state["keys"] else self._entries
        for layer, (key, value) in enumerate(zip(state["keys"], state["values"], strict=True)):
            self.put(layer, key.to(self._device), value.to(self._device))
        self._valid = [bool(valid) for valid in state["valid"]] or [False] * len(self._entries)
