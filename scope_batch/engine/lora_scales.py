"""Sets the scales of the job's LoRAs that change from chunk to chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scope_batch.models.lora.adapters import BUILTIN_ADAPTER, MovedParameters, adapter_name, attach
from scope_batch.models.lora.weights import Lora


class LoraScales:
    """Adapters of a transformer and their present scales, which persist from one session to the next."""

    def __init__(self, transformer: Any, branches: Mapping[int, Lora]) -> None:
        """Attach `branches`, LoRAs by their index in `Chunk.lora_scales`; the other indices belong to merged LoRAs."""
        self._transformer, self._places = transformer, tuple(branches)
        self._moved = MovedParameters(transformer, tuple(branches.values()))
        self._adapters = {index: adapter_name(index, lora) for index, lora in branches.items() if lora.pairs}
        for index, name in self._adapters.items():
            attach(transformer, branches[index], name)
        self._now: tuple[float, ...] | None = None if branches else ()

    def set(self, scales: Sequence[float]) -> bool:
        """Set the scale of every adapter; `scales` has one entry for each LoRA of the job. Returns True on a change."""
        wanted = tuple(scales[index] for index in self._places)
        if wanted == self._now:
            return False
        self._apply(wanted)
        return True

    def _apply(self, scales: tuple[float, ...]) -> None:
        """scales: one for each branch."""
        self._now = None
        if self._adapters:
            # Adapters that are not listed would be disabled, the pipeline's own included.
            builtin = [BUILTIN_ADAPTER] if BUILTIN_ADAPTER in self._transformer.peft_config else []
            by_index = dict(zip(self._places, scales, strict=True))
            weights = [*(1.0 for _ in builtin), *(by_index[index] for index in self._adapters)]
            self._transformer.set_adapters([*builtin, *self._adapters.values()], weights)
            self._transformer.requires_grad_(False)  # PEFT has set it
        self._moved.set(scales)
        self._now = scales

    def state(self) -> dict[str, Any]:
        """The scale of every branch; None before the first chunk."""
        return {"scales": None if self._now is None else list(self._now)}

    def restore(self, state: Mapping[str, Any]) -> None:
        saved = state["scales"]
        if saved is None:
            self._now = None
        elif len(saved) != len(self._places):
            raise ValueError(f"the state has scales of {len(saved)} LoRAs, this session of {len(self._places)}")
        elif tuple(saved) != self._now:
            self._apply(tuple(saved))
