"""Computes the strength of a LoRA file: delta = scale * factor * B A, with factor = alpha / rank. Torch-free."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_batch.errors import JobError

_METADATA_KEY = "lora_adapter_metadata"
_METADATA_PREFIX = "transformer."


@dataclass(frozen=True, slots=True)
class AlphaRule:
    """The alpha of modules that have no `.alpha` of their own in the file.

    alpha            None: alpha = rank.
    patterns         (end of a module's name or regular expression, alpha), before `alpha`; the first that fits counts.
    rank_stabilised  factor = alpha / sqrt(rank).
    """

    alpha: float | None = None
    patterns: tuple[tuple[str, float], ...] = ()
    rank_stabilised: bool = False

    def factor(self, name: str, rank: int, own: float | None) -> float:
        """name: the module as the file calls it. own: its alpha in the file."""
        alpha = own if own is not None else self._for(name)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rank_stabilised and own is None else rank)

    def _for(self, name: str) -> float | None:
        found = (alpha for pattern, alpha in self.patterns if re.search(rf"(?:^|\.)(?:{pattern})$", name))
        return next(found, self.alpha)


def settings_beside(path: Path) -> Path | None:
    """PEFT's `adapter_config.json`, without which its `adapter_model.safetensors` is only half of a LoRA."""
    beside = path.with_name("adapter_config.json")
    return beside if path.stem == "adapter_model" and beside.is_file() else None


def alpha_rule(path: Path, metadata: Mapping[str, str]) -> AlphaRule:
    """What diffusers writes into the file's metadata, or PEFT into `adapter_config.json` beside `adapter_model`.

    Raises JobError if that cannot be read.
    """
    try:
        if _METADATA_KEY in metadata:
            settings = json.loads(metadata[_METADATA_KEY])
            return _rule({str(key).removeprefix(_METADATA_PREFIX): value for key, value in settings.items()})
        if (beside := settings_beside(path)) is not None:
            return _rule(json.loads(beside.read_bytes()))
    except (ValueError, TypeError, AttributeError, OSError, re.error, RecursionError) as error:
        raise JobError(f"{path}: what it says of its alpha cannot be read ({error})") from error
    return AlphaRule()


def _rule(settings: Mapping[str, Any]) -> AlphaRule:
    alpha, patterns = settings.get("lora_alpha"), settings.get("alpha_pattern") or {}
    for pattern in patterns:
        re.compile(pattern)
    return AlphaRule(
        alpha=None if alpha is None else _number(alpha),
        patterns=tuple((str(pattern).removeprefix("^"), _number(value)) for pattern, value in patterns.items()),
        rank_stabilised=bool(settings.get("use_rslora")),
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"alpha is {value}")
    return number
