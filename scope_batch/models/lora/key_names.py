"""Assigns the keys of a LoRA file to the modules of diffusers' Wan transformers. Torch-free.

Every key is used or listed as unknown. A LoRA is applied completely or not at all: a file with keys of a kind that is
not supported (DoRA, LoHa ...) is refused.

Trainers write the same module as `diffusion_model.blocks.0.self_attn.q`, `lora_unet_blocks_0_self_attn_q`,
`transformer.blocks.0.attn1.to_q` ... A name with underscores cannot be split into its parts. So all names of Wan's
modules are listed here, and compared with dots replaced by underscores.
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
    """The keys of one module: A [rank, in ...], B [out, rank ...], and optionally alpha and the bias of B.

    name  of the module in the file.
    """

    name: str
    a: str
    b: str
    alpha: str | None = None
    bias: str | None = None


@dataclass(frozen=True, slots=True)
class LoraLayout:
    """The contents of a LoRA file.

    shapes   shape of every tensor, by key.
    pairs    keys of A and B, by module of diffusers' model.
    diffs    key of a whole difference, by parameter of diffusers' model.
    unknown  keys of modules that Wan does not have.
    rule     alpha of the pairs that have none in the file.
    """

    path: Path
    shapes: Mapping[str, Shape]
    pairs: Mapping[str, PairKeys]
    diffs: Mapping[str, str]
    unknown: tuple[str, ...]
    rule: AlphaRule

    @property
    def weights(self) -> list[str]:
        """Return the keys of all tensors that change the model."""
        pairs = [key for pair in self.pairs.values() for key in (pair.a, pair.b, pair.bias) if key is not None]
        return [*pairs, *self.diffs.values()]


def lora_layout(path: Path, shapes: Mapping[str, Shape], rule: AlphaRule, architecture: str = "") -> LoraLayout:
    """Return the layout of a file with these keys. Raises JobError if it is not a supported LoRA for Wan.

    architecture  words about the model that it seems to be for, added to the message.
    """
    modules, unknown = _group_by_module(path, shapes)
    if 2 * len(unknown) > len(shapes) or not modules:
        what = f"{len(unknown)} of {len(shapes)} keys are unknown: {first_names(unknown)}" if unknown else "it is empty"
        raise JobError(f"{path}: not a LoRA for Wan{architecture}: {what}")
    pairs: dict[str, PairKeys] = {}
    diffs: dict[str, str] = {}
    unpaired: list[str] = []
    for module, (name, parts) in modules.items():
        if "a" in parts or "b" in parts:
            pairs[module] = _pair(path, name, parts, shapes)
        else:
            unpaired += [parts[part] for part in ("alpha", "bias") if part in parts]
        if "diff" in parts:
            diffs[module if module.endswith("scale_shift_table") else f"{module}.weight"] = parts["diff"]
        if "diff_b" in parts:
            diffs[f"{module}.bias"] = parts["diff_b"]
    if not pairs and not diffs:
        raise JobError(f"{path}: holds no LoRA weights, only {first_names(unpaired)}")
    return LoraLayout(path, shapes, pairs, diffs, (*unknown, *unpaired), rule)


def _group_by_module(path: Path, keys: Collection[str]) -> tuple[dict[str, tuple[str, dict[str, str]]], list[str]]:
    """Return {module: (its name in the file, {part: key})}, and the unknown keys."""
    modules: dict[str, tuple[str, dict[str, str]]] = {}
    foreign: dict[str, list[str]] = {}
    unknown: list[str] = []
    for key in keys:
        name, part = _split(key)
        module = diffusers_module(name) if part else None
        if module is None:
            unknown.append(key)
        elif part in _FOREIGN:
            foreign.setdefault(part, []).append(key)
        elif (first := modules.setdefault(module, (name, {}))[1].setdefault(part, key)) != key:
            raise JobError(f"{path}: two keys mean the same: {first} and {key}")
    for kind, named in foreign.items():
        what = "whole weights of the model, not only a LoRA" if kind == "whole" else f"{kind} weights"
        raise JobError(
            f"{path}: holds {what}, which cannot be applied ({len(named)} keys: {first_names(named)}); "
            "pairs of lora_A/lora_B or lora_down/lora_up, .diff and .diff_b can"
        )
    return modules, unknown


def _split(key: str) -> tuple[str, str]:
    """Split a key into the module's name and the part ("a", "b", "alpha" ...); the part is "" if it is unknown."""
    match = _ANY_PART.search(key)
    if match is None:
        return key, ""
    return key[: match.start()], next(n for i, n in enumerate(_NAMES) if match[f"p{i}"] is not None)


def _pair(path: Path, name: str, parts: Mapping[str, str], shapes: Mapping[str, Shape]) -> PairKeys:
    if not {"a", "b"} <= parts.keys():
        present, missing = ("a", "lora_B (lora_up)") if "a" in parts else ("b", "lora_A (lora_down)")
        raise JobError(f"{path}: half a pair: {parts[present]} has no {missing}")
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
    **{f"self_attn.{original}": f"attn1.{diffusers}" for original, diffusers in _IN_ATTENTION.items()},
    **{f"cross_attn.{original}": f"attn2.{diffusers}" for original, diffusers in _IN_ATTENTION.items()},
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
    # No diffusers name is another module's original name: the only candidate, the original's norm2, has no weights.
    return {_flat(diffusers): diffusers for diffusers in names.values()} | {
        _flat(original): diffusers for original, diffusers in names.items()
    }


_FLAT_IN_BLOCK = _by_flat_name(_IN_BLOCK)
_FLAT_OUTSIDE = _by_flat_name(_OUTSIDE)


def diffusers_module(name: str) -> str | None:
    """Return diffusers' name of a module (or of the parameter `modulation`) from any naming; None if unknown."""
    flat = _flat(name[prefix.end() :] if (prefix := _PREFIXES.match(name)) else name)
    if block := _BLOCK.fullmatch(flat):
        inside = _FLAT_IN_BLOCK.get(block[3])
        return f"{block[1]}.{block[2]}.{inside}" if inside else None
    return _FLAT_OUTSIDE.get(flat)


def is_of_image_to_video(module: str) -> bool:
    """Return True for a diffusers module that exists only in models that take a first frame through CLIP."""
    return any(part in module for part in ("add_k_proj", "add_v_proj", "norm_added_k", "image_embedder"))


def is_of_vace(module: str) -> bool:
    """Return True for a diffusers module of the VACE part."""
    return module.startswith("vace_")
