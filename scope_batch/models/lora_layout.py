"""What the keys of a LoRA file mean: pairs of matrices and whole differences, by module of diffusers. Torch-free.

Every key is accounted for: it lands somewhere, is named as unknown, or the file is refused. What a file was trained to
do is done as a whole or not at all, so kinds that cannot be applied (DoRA, LoHa ...) refuse the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from scope_batch.errors import JobError
from scope_batch.models.lora_alpha import AlphaRule
from scope_batch.models.lora_names import diffusers_module
from scope_batch.models.words import first_names

Shape = tuple[int, ...]

_ADAPTER = r"(?:\.(?!weight$|bias$)\w+)?"
_PARTS = {
    "a": rf"\.(?:lora_A{_ADAPTER}|lora_down|lora\.down)\.weight",
    "b": rf"\.(?:lora_B{_ADAPTER}|lora_up|lora\.up)\.weight",
    "bias": rf"\.(?:lora_B{_ADAPTER}|lora_up|lora\.up)\.bias",
    "alpha": r"\.alpha",
    "diff": r"\.diff",
    "diff_b": r"\.diff_b",
}
_FOREIGN = {
    "DoRA": r"\.(?:dora_scale|lora_magnitude_vector(?:\.\w+)*)",
    "LoHa": r"\.hada_\w+",
    "LoKr": r"\.lokr_\w+",
    "OFT": r"\.b?oft_\w+",
    "LoCon (lora_mid)": r"\.lora_mid\.weight",
    "whole": r"\.(?:set_weight|weight|bias)",
}
_ANY_PART = re.compile("|".join(f"(?P<p{i}>{pattern})$" for i, pattern in enumerate((_PARTS | _FOREIGN).values())))
_NAMES = [*_PARTS, *_FOREIGN]


@dataclass(frozen=True, slots=True)
class PairKeys:
    """Keys of a module's A [rank, in ...], B [out, rank ...], and of its alpha and bias of B where it has them."""

    name: str
    a: str
    b: str
    alpha: str | None = None
    bias: str | None = None


@dataclass(frozen=True, slots=True)
class LoraLayout:
    """What a LoRA file holds.

    shapes  of all its tensors, by key.
    pairs   by module of diffusers' model.
    diffs   key of what is added to a parameter of diffusers' model.
    unknown keys of modules that Wan has not.
    rule    alpha of the pairs that have none in the file.
    """

    path: Path
    shapes: Mapping[str, Shape]
    pairs: Mapping[str, PairKeys]
    diffs: Mapping[str, str]
    unknown: tuple[str, ...]
    rule: AlphaRule

    @property
    def weights(self) -> list[str]:
        """Keys of all tensors that are added to the model."""
        pairs = [key for pair in self.pairs.values() for key in (pair.a, pair.b, pair.bias) if key is not None]
        return [*pairs, *self.diffs.values()]


def lora_layout(path: Path, shapes: Mapping[str, Shape], rule: AlphaRule, architecture: str = "") -> LoraLayout:
    """The layout of a file with these keys; `architecture` is told when none of them is Wan's. Raises JobError."""
    found, unknown = _found(path, shapes)
    if 2 * len(unknown) > len(shapes) or not found:
        what = f"{len(unknown)} of {len(shapes)} keys are unknown: {first_names(unknown)}" if unknown else "it is empty"
        raise JobError(f"{path}: not a LoRA for Wan{architecture}: {what}")
    pairs: dict[str, PairKeys] = {}
    diffs: dict[str, str] = {}
    alone: list[str] = []
    for module, (name, parts) in found.items():
        if "a" in parts or "b" in parts:
            pairs[module] = _pair(path, name, parts, shapes)
        else:
            alone += [parts[part] for part in ("alpha", "bias") if part in parts]
        if "diff" in parts:
            diffs[module if module.endswith("scale_shift_table") else f"{module}.weight"] = parts["diff"]
        if "diff_b" in parts:
            diffs[f"{module}.bias"] = parts["diff_b"]
    if not pairs and not diffs:
        raise JobError(f"{path}: holds no LoRA weights, only {first_names(alone)}")
    return LoraLayout(path, shapes, pairs, diffs, (*unknown, *alone), rule)


def _found(path: Path, keys: Collection[str]) -> tuple[dict[str, tuple[str, dict[str, str]]], list[str]]:
    """{module: (its name in the file, {part: key})}, and the keys that mean nothing."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    foreign: dict[str, list[str]] = {}
    unknown: list[str] = []
    for key in keys:
        name, part = _split(key)
        module = diffusers_module(name) if part else None
        if module is None:
            unknown.append(key)
        elif part in _FOREIGN:
            foreign.setdefault(part, []).append(key)
        elif (first := found.setdefault(module, (name, {}))[1].setdefault(part, key)) != key:
            raise JobError(f"{path}: two keys mean the same: {first} and {key}")
    for kind, named in foreign.items():
        what = "whole weights of the model, not only a LoRA" if kind == "whole" else f"{kind} weights"
        raise JobError(
            f"{path}: holds {what}, which cannot be applied ({len(named)} keys: {first_names(named)}); "
            "pairs of lora_A/lora_B or lora_down/lora_up, .diff and .diff_b can"
        )
    return found, unknown


def _split(key: str) -> tuple[str, str]:
    """(name of the module, part), the part empty for a key of no known kind."""
    match = _ANY_PART.search(key)
    if match is None:
        return key, ""
    return key[: match.start()], next(n for i, n in enumerate(_NAMES) if match[f"p{i}"] is not None)


def _pair(path: Path, name: str, parts: Mapping[str, str], shapes: Mapping[str, Shape]) -> PairKeys:
    if not {"a", "b"} <= parts.keys():
        here, there = ("a", "lora_B (lora_up)") if "a" in parts else ("b", "lora_A (lora_down)")
        raise JobError(f"{path}: half a pair: {parts[here]} has no {there}")
    a, b = shapes[parts["a"]], shapes[parts["b"]]
    if len(a) < 2 or len(b) < 2 or a[0] != b[1] or a[0] == 0:
        raise JobError(f"{path}: {name}: A {list(a)} and B {list(b)} do not fit each other")
    if "alpha" in parts and math.prod(shapes[parts["alpha"]]) != 1:
        raise JobError(f"{path}: {parts['alpha']} is {list(shapes[parts['alpha']])}, not one number")
    return PairKeys(name, parts["a"], parts["b"], parts.get("alpha"), parts.get("bias"))
