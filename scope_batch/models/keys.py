"""What the keys of a checkpoint mean: original Wan naming -> diffusers and transformers, every key accounted for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from torch import Tensor

from scope_batch.errors import JobError

T = TypeVar("T")
"""A tensor, or its shape: renaming does not look inside."""

_SHOWN = 5
_PEFT_PREFIX = "base_model.model."

_UMT5_GLOBAL = {
    "token_embedding.weight": "shared.weight",
    "norm.weight": "encoder.final_layer_norm.weight",
}
_UMT5_BLOCK = {
    "norm1.weight": "layer.0.layer_norm.weight",
    "attn.q.weight": "layer.0.SelfAttention.q.weight",
    "attn.k.weight": "layer.0.SelfAttention.k.weight",
    "attn.v.weight": "layer.0.SelfAttention.v.weight",
    "attn.o.weight": "layer.0.SelfAttention.o.weight",
    "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
    "norm2.weight": "layer.1.layer_norm.weight",
    "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
    "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
    "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
}


def to_diffusers_transformer(state: Mapping[str, T]) -> dict[str, T]:
    """Keys of a Wan backbone as `WanTransformer3DModel` has them. Unknown keys pass through, to be accounted for."""
    if any(key.startswith("condition_embedder.") for key in state):
        return dict(state)
    return dict(convert_wan_transformer_to_diffusers(dict(state)))


def to_diffusers_vae(state: Mapping[str, T]) -> dict[str, T]:
    """Keys of a Wan VAE as `AutoencoderKLWan` has them. Unknown keys pass through, to be accounted for."""
    return dict(convert_wan_vae_to_diffusers(dict(state)))


def to_umt5(state: Mapping[str, T]) -> dict[str, T]:
    """Keys of Wan's UMT5 encoder as `UMT5EncoderModel` has them. Unknown keys pass through, to be accounted for."""
    return {_umt5_key(key): tensor for key, tensor in state.items()}


def _umt5_key(key: str) -> str:
    if key in _UMT5_GLOBAL:
        return _UMT5_GLOBAL[key]
    head, _, rest = key.partition(".")
    index, _, tail = rest.partition(".")
    if head == "blocks" and tail in _UMT5_BLOCK:
        return f"encoder.block.{index}.{_UMT5_BLOCK[tail]}"
    return key


def lora_to_diffusers(state: Mapping[str, Tensor], path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """A LoRA in PEFT's naming -> {module of `WanTransformer3DModel`: (A [rank, in], B [out, rank])}.

    Raises JobError for a key that is no half of a pair, and when every B is zero (nothing was trained, or loaded).
    """
    renamed = to_diffusers_transformer({key.removeprefix(_PEFT_PREFIX): tensor for key, tensor in state.items()})
    halves = [key for key in renamed if key.endswith((".lora_A.weight", ".lora_B.weight"))]
    modules = sorted({key.rsplit(".", 2)[0] for key in halves})
    known = {f"{module}.lora_{half}.weight" for module in modules for half in "AB"}
    if odd := sorted(known ^ set(renamed)):
        raise JobError(f"{path}: not a LoRA with lora_A and lora_B for each module; unmatched: {_first(odd)}")
    pairs = {m: (renamed[f"{m}.lora_A.weight"], renamed[f"{m}.lora_B.weight"]) for m in modules}
    if not any(b.is_meta or bool(b.float().any()) for _, b in pairs.values()):
        raise JobError(f"{path}: every lora_B is zero, so it would change nothing")
    return pairs


def check_lora(
    pairs: Mapping[str, tuple[Tensor, Tensor]], shapes: Mapping[str, torch.Size], path: Path, backbone: Path
) -> None:
    """Every pair must land on a weight of the backbone (`shapes`, diffusers' keys) and fit it, else JobError."""
    if not pairs:
        raise JobError(f"{path}: holds no LoRA weights")
    missing = [module for module in pairs if f"{module}.weight" not in shapes]
    if missing:
        raise JobError(
            f"{path}: {len(missing)} of {len(pairs)} LoRA modules are not in {backbone.name}: {_first(missing)}"
        )
    for module, (a, b) in pairs.items():
        out, inp = shapes[f"{module}.weight"]
        if a.shape[1:] != (inp,) or b.shape[:1] != (out,) or a.shape[0] != b.shape[1]:
            raise JobError(
                f"{path}: made for another model: {module} is [{out}, {inp}] in {backbone.name}, "
                f"the LoRA has A {list(a.shape)} and B {list(b.shape)}"
            )


def account(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size], path: Path, what: str) -> list[str]:
    """Check that a file's keys and shapes (`found`) fill every key of `expected`; `what` names the model in messages.

    Returns at most one warning about keys that the model does not have; they are to be dropped. Raises JobError for a
    missing or mis-shaped key, and when more than half of the file's keys mean nothing to the model.
    """
    unexpected = sorted(found.keys() - expected.keys())
    if 2 * len(unexpected) > len(found) or not found:
        raise JobError(
            f"{path}: not a {what}: {len(unexpected)} of {len(found)} keys are unknown: {_first(unexpected)}"
        )
    if missing := [key for key in expected if key not in found]:
        raise JobError(
            f"{path}: {len(missing)} of {len(expected)} tensors of the {what} are missing: {_first(missing)}"
        )
    bad = [f"{key} is {list(found[key])}, not {list(shape)}" for key, shape in expected.items() if found[key] != shape]
    if bad:
        raise JobError(f"{path}: {len(bad)} tensors of the {what} have the wrong shape: {_first(bad)}")
    if not unexpected:
        return []
    return [f"{path.name}: {len(unexpected)} keys that the {what} does not have are left out: {_first(unexpected)}"]


def _first(names: Collection[str]) -> str:
    return ", ".join(list(names)[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
