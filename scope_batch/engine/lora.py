"""The job's LoRAs whose scales change from chunk to chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scope_batch.models.lora import Lora
from scope_batch.models.lora_adapters import BUILTIN_ADAPTER, adapter_name, attach
from scope_batch.models.lora_diffs import MovedParameters


class LoraScales:
    """Side branches of a transformer and the scales they have now; these stay from one session to the next."""

    def __init__(self, transformer: Any, branches: Mapping[int, Lora]) -> None:
        """Attach `branches`, by their place in `Chunk.lora_scales`; the other places there are merged LoRAs'."""
        self._transformer, self._places = transformer, tuple(branches)
        self._moved = MovedParameters(transformer, tuple(branches.values()))
        self._adapters = {index: adapter_name(index, lora) for index, lora in branches.items() if lora.pairs}
        for index, name in self._adapters.items():
            attach(transformer, branches[index], name)
        self._now: tuple[float, ...] | None = None if branches else ()

    def set(self, scales: Sequence[float]) -> bool:
        """Give every side branch its scale, one for each LoRA of the job; whether that changed anything."""
        wanted = tuple(scales[index] for index in self._places)
        if wanted == self._now:
            return False
        self._now = None
        if self._adapters:
            # Adapters that are not in the list would fall silent, the pipeline's own included.
            builtin = [BUILTIN_ADAPTER] if BUILTIN_ADAPTER in self._transformer.peft_config else []
            weights = [*(1.0 for _ in builtin), *(scales[index] for index in self._adapters)]
            self._transformer.set_adapters([*builtin, *self._adapters.values()], weights)
            self._transformer.requires_grad_(False)  # PEFT switched it on
        self._moved.set(wanted)
        self._now = wanted
        return True
