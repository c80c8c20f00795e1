"""Computes the factor of a LoRA, usually alpha / rank: delta = scale * factor * B A. Torch-free."""

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

SETTINGS = "adapter_config.json"
_METADATA_KEY = "lora_adapter_metadata"
_METADATA_PREFIX = "transformer."
_OPERATORS = re.compile(r"[\\^$*+?{}\[\]|()]")
_SHORT = Repr()
_SHORT.maxstring = 60


@dataclass(frozen=True, slots=True)
class AlphaRule:
    """The alpha of modules for which the file has no `.alpha` tensor.

    alpha            default; None: alpha = rank, so that the factor is 1.
    patterns         (expression for a module's name, alpha); the first match replaces the default.
    rank_stabilised  factor = alpha / sqrt(rank), else alpha / rank.
    """

    alpha: float | None = None
    patterns: tuple[tuple[re.Pattern[str], float], ...] = ()
    rank_stabilised: bool = False

    def factor(self, name: str, rank: int, own: float | None) -> float:
        """Return the factor of a module. name: of the module in the file; own: the value of its `.alpha` tensor."""
        alpha = own if own is not None else self._for(name)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rank_stabilised and own is None else rank)

    def _for(self, name: str) -> float | None:
        return next((alpha for pattern, alpha in self.patterns if pattern.match(name)), self.alpha)


def settings_beside(path: Path) -> Path | None:
    """Return PEFT's `adapter_config.json`, which holds the alpha of the `adapter_model.safetensors` beside it."""
    beside = path.with_name(SETTINGS)
    return beside if may_have_settings(path) and beside.is_file() else None


def may_have_settings(path: Path) -> bool:
    """Return whether PEFT gives this name to a LoRA file that has its settings beside it."""
    return path.stem == "adapter_model"


def alpha_rule(path: Path, metadata: Mapping[str, str]) -> AlphaRule:
    """Read the alphas that diffusers writes into the file's metadata, or PEFT into `adapter_config.json` beside it.

    Raises JobError if they cannot be read, or if a key of `alpha_pattern` is not a plain name.
    """
    try:
        if _METADATA_KEY in metadata:
            settings = json.loads(metadata[_METADATA_KEY])
            return _rule(path, {str(key).removeprefix(_METADATA_PREFIX): value for key, value in settings.items()})
        if (beside := settings_beside(path)) is not None:
            return _rule(beside, json.loads(beside.read_bytes()))
    except (ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise JobError(f"{path}: the alpha in its settings cannot be read ({error})") from error
    return AlphaRule()


def _rule(source: Path, settings: Mapping[str, Any]) -> AlphaRule:
    """Build the rule from diffusers' or PEFT's settings. source: their file, for messages."""
    alpha, patterns = settings.get("lora_alpha"), settings.get("alpha_pattern") or {}
    return AlphaRule(
        alpha=None if alpha is None else _number(alpha),
        patterns=tuple((_pattern(source, key), _number(value)) for key, value in patterns.items()),
        rank_stabilised=bool(settings.get("use_rslora")),
    )


def _pattern(source: Path, key: str) -> re.Pattern[str]:
    """Compile the expression with which PEFT matches a key to modules: the whole name, or its end after a dot.

    PEFT allows any regular expression. Repetition and alternatives are refused here, because they can take exponential
    time; allowed keys match a fixed number of characters.
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
