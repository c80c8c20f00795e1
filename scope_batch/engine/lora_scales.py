"""Sets the scales of the job's LoRAs that change from chunk to chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scope_batch.models.lora.adapters import BUILTIN_ADAPTER, ChangedParameters, adapter_name, attach
from scope_batch.models.lora.weights import Lora


class LoraScales:
    """The LoRA side branches of a transformer and their current scales. It outlives a session, as the weights do."""

    def __init__(self, transformer: Any, branches: Mapping[int, Lora]) -> None:
        """Attach `branches` to the transformer.

        branches  LoRAs by their index in `Chunk.lora_scales`. LoRAs that are merged into the weights are left out.
        """
        self._transformer, self._indices = transformer, tuple(branches)
        self._changed = ChangedParameters(transformer, tuple(branches.values()))
        self._adapters = {index: adapter_name(index, lora) for index, lora in branches.items() if lora.pairs}
        for index, name in self._adapters.items():
            attach(transformer, branches[index], name)
        self._current: tuple[float, ...] | None = None if branches else ()

    def set(self, scales: Sequence[float]) -> bool:
        """Set the scale of every side branch. Returns True if one changed.

        scales  one for each LoRA of the job, as in `Chunk.lora_scales`.
        """
        branch_scales = tuple(scales[index] for index in self._indices)
        if branch_scales == self._current:
            return False
        self._apply(branch_scales)
        return True

    def _apply(self, scales: tuple[float, ...]) -> None:
        """Apply one scale to each side branch, in the order of `_indices`."""
        self._current = None  # stays None if the lines below fail halfway
        if self._adapters:
            # PEFT disables every adapter that is not listed, so list the pipeline's own as well.
            builtin = [BUILTIN_ADAPTER] if BUILTIN_ADAPTER in self._transformer.peft_config else []
            by_index = dict(zip(self._indices, scales, strict=True))
            weights = [*(1.0 for _ in builtin), *(by_index[index] for index in self._adapters)]
            self._transformer.set_adapters([*builtin, *self._adapters.values()], weights)
            self._transformer.requires_grad_(False)  # set_adapters has switched it on
        self._changed.set(scales)
        self._current = scales

    def state(self) -> dict[str, Any]:
        """Return the scale of every side branch; None before the first chunk."""
        return {"scales": None if self._current is None else list(self._current)}

    def restore(self, state: Mapping[str, Any]) -> None:
        saved = state["scales"]
        if saved is None:
            self._current = None
        elif len(saved) != len(self._indices):
            raise ValueError(f"the state has scales of {len(saved)} LoRAs, this session of {len(self._indices)}")
        elif tuple(saved) != self._current:
            self._apply(tuple(saved))
