"""Interprets the keys of a LoRA file: pairs of matrices and whole differences, by module of diffusers. Torch-free.

Every key is accounted for: it lands somewhere, is named as unknown, or the file is refused. What a file was trained to
do is done as a whole or not at all, so kinds that cannot be applied (DoRA, LoHa ...) refuse the file.


Names of the modules that a LoRA file may speak of -> modules of diffusers' Wan transformers. Torch-free.

Trainers write the same module as `diffusion_model.blocks.0.self_attn.q`, `lora_unet_blocks_0_self_attn_q`,
`transformer.blocks.0.attn1.to_q` ... With underscores a name does not say where its parts end, so names are not taken
apart: all that Wan has are listed, and compared with their dots turned into underscores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from scope_batch.errors import JobError
from scope_batch.models.layout import first_names
from scope_batch.models.lora.alpha import AlphaRule

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


_IN_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
    "norm_k_img": "norm_added_k",
}
_IN_BLOCK = {
    **{f"self_attn.{ours}": f"attn1.{theirs}" for ours, theirs in _IN_ATTENTION.items()},
    **{f"cross_attn.{ours}": f"attn2.{theirs}" for ours, theirs in _IN_ATTENTION.items()},
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm3": "norm2",
    "modulation": "scale_shift_table",
    "before_proj": "proj_in",
    "after_proj": "proj_out",
}
_OUTSIDE = {
    "patch_embedding": "patch_embedding",
    "vace_patch_embedding": "vace_patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
}

_PREFIXES = re.compile(
    r"(?:base_model\.model\.|model\.|diffusion_model\.|transformer\.|pipe\.dit\.|lora_unet__?|lora_transformer_|lycoris_)+"
)
_BLOCK = re.compile(r"((?:vace_)?blocks)_(0|[1-9]\d*)_(.+)")


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _by_flat_name(names: dict[str, str]) -> dict[str, str]:
    # A diffusers name never means another module in the original naming: the original's norm2 has no weights.
    return {_flat(theirs): theirs for theirs in names.values()} | {
        _flat(ours): theirs for ours, theirs in names.items()
    }


_FLAT_IN_BLOCK = _by_flat_name(_IN_BLOCK)
_FLAT_OUTSIDE = _by_flat_name(_OUTSIDE)


def diffusers_module(name: str) -> str | None:
    """The module (or, for `modulation`, the parameter) that `name` means, in any naming; None if Wan has none such."""
    flat = _flat(name[found.end() :] if (found := _PREFIXES.match(name)) else name)
    if block := _BLOCK.fullmatch(flat):
        inside = _FLAT_IN_BLOCK.get(block[3])
        return f"{block[1]}.{block[2]}.{inside}" if inside else None
    return _FLAT_OUTSIDE.get(flat)


def is_of_image_to_video(module: str) -> bool:
    """Whether a diffusers module exists only in models that take a first frame through CLIP."""
    return any(part in module for part in ("add_k_proj", "add_v_proj", "norm_added_k", "image_embedder"))


def is_of_vace(module: str) -> bool:
    return module.startswith("vace_")
