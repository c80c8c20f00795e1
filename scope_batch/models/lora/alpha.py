"""Computes the strength of a LoRA file: delta = scale * factor * B A, with factor = alpha / rank. Torch-free."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any

from scope_batch.errors import JobError

_METADATA_KEY = "lora_adapter_metadata"
_METADATA_PREFIX = "transformer."
_OPERATORS = re.compile(r"[\\^$*+?{}\[\]|()]")
_SHORT = Repr()
_SHORT.maxstring = 60


@dataclass(frozen=True, slots=True)
class AlphaRule:
    """The alpha of modules that have no `.alpha` of their own in the file.

    alpha            None: alpha = rank.
    patterns         (expression that a module's name must match, alpha), before `alpha`; the first match counts.
    rank_stabilised  factor = alpha / sqrt(rank).
    """

    alpha: float | None = None
    patterns: tuple[tuple[re.Pattern[str], float], ...] = ()
    rank_stabilised: bool = False

    def factor(self, name: str, rank: int, own: float | None) -> float:
        """name: the module as the file calls it. own: its alpha in the file."""
        alpha = own if own is not None else self._for(name)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rank_stabilised and own is None else rank)

    def _for(self, name: str) -> float | None:
        return next((alpha for pattern, alpha in self.patterns if pattern.match(name)), self.alpha)


def settings_beside(path: Path) -> Path | None:
    """PEFT's `adapter_config.json`, without which its `adapter_model.safetensors` is only half of a LoRA."""
    beside = path.with_name("adapter_config.json")
    return beside if path.stem == "adapter_model" and beside.is_file() else None


def alpha_rule(path: Path, metadata: Mapping[str, str]) -> AlphaRule:
    """What diffusers writes into the file's metadata, or PEFT into `adapter_config.json` beside `adapter_model`.

    Raises JobError if that cannot be read, or if a key of `alpha_pattern` is not a plain name.
    """
    try:
        if _METADATA_KEY in metadata:
            settings = json.loads(metadata[_METADATA_KEY])
            return _rule(path, {str(key).removeprefix(_METADATA_PREFIX): value for key, value in settings.items()})
        if (beside := settings_beside(path)) is not None:
            return _rule(beside, json.loads(beside.read_bytes()))
    except (ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise JobError(f"{path}: what it says of its alpha cannot be read ({error})") from error
    return AlphaRule()


def _rule(source: Path, settings: Mapping[str, Any]) -> AlphaRule:
    """source: the file that holds the settings."""
    alpha, patterns = settings.get("lora_alpha"), settings.get("alpha_pattern") or {}
    return AlphaRule(
        alpha=None if alpha is None else _number(alpha),
        patterns=tuple((_pattern(source, key), _number(value)) for key, value in patterns.items()),
        rank_stabilised=bool(settings.get("use_rslora")),
    )


def _pattern(source: Path, key: str) -> re.Pattern[str]:
    """The expression by which PEFT finds the modules of a key: the whole name, or its end after a dot.

    PEFT takes any regular expression. Repetition and alternatives can take exponential time, so they are refused; what
    is allowed matches a fixed number of characters.
    """
    name = key.removeprefix("^").removesuffix("$")
    if _OPERATORS.search(name.replace(r"\.", "")):
        raise JobError(
            f"{source}: alpha_pattern: the key {_SHORT.repr(key)} is a regular expression; allowed: the name of a "
            "module or its last parts, such as 'blocks.0.attn1.to_q' or 'to_q', one key for each"
        )
    return re.compile(rf"(.*\.)?({name})$")


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"alpha is {value}")
    return number
