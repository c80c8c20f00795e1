"""Renames checkpoint keys from original Wan naming to that of diffusers and transformers, and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from torch import Tensor

from scope_batch.errors import JobError
from scope_batch.models.layout import first_names

T = TypeVar("T")
"""A tensor or a shape; renaming handles both alike."""


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
    """Rename the keys of a Wan backbone as in `WanTransformer3DModel`. Unknown keys are kept; `account` judges them."""
    if any(key.startswith("condition_embedder.") for key in state):
        return dict(state)
    return dict(convert_wan_transformer_to_diffusers(dict(state)))


def to_diffusers_vace(state: Mapping[str, T]) -> dict[str, T]:
    """Return the VACE part of a module or of a whole checkpoint, with the keys of `WanVACETransformer3DModel`.

    All other tensors are dropped. Unknown keys of the part are kept; `account` judges them.
    """
    part = {key: tensor for key, tensor in state.items() if is_vace(key)}
    if any(".attn1." in key for key in part):
        return part
    return dict(convert_wan_transformer_to_diffusers(part))


def is_vace(key: str) -> bool:
    """Return True for a key of the VACE part, in either naming."""
    return key.startswith("vace_")


def to_diffusers_vae(state: Mapping[str, T]) -> dict[str, T]:
    """Rename the keys of a Wan VAE as in `AutoencoderKLWan`. Unknown keys are kept; `account` judges them."""
    return dict(convert_wan_vae_to_diffusers(dict(state)))


def to_umt5(state: Mapping[str, T]) -> dict[str, T]:
    """Rename the keys of Wan's UMT5 encoder as in `UMT5EncoderModel`. Unknown keys are kept; `account` judges them."""
    return {_umt5_key(key): tensor for key, tensor in state.items()}


def _umt5_key(key: str) -> str:
    if key in _UMT5_GLOBAL:
        return _UMT5_GLOBAL[key]
    head, _, rest = key.partition(".")
    index, _, tail = rest.partition(".")
    if head == "blocks" and tail in _UMT5_BLOCK:
        return f"encoder.block.{index}.{_UMT5_BLOCK[tail]}"
    return key


def refuse_integers(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise JobError unless all weights are floats; integers, bools and complex numbers are refused."""
    if bad := [
        f"{key} is {str(t.dtype).removeprefix('torch.')}" for key, t in weights.items() if not t.is_floating_point()
    ]:
        raise JobError(f"{path}: weights are floats, but {first_names(bad)}")


def account(found: Mapping[str, Tensor], expected: Mapping[str, torch.Size], path: Path, what: str) -> list[str]:
    """Check that a file's tensors (`found`) have every key and shape of `expected`.

    what  name of the model in messages.
    Returns at most one warning, about keys that the model does not have; the caller drops them. Raises JobError for a
    missing key, a wrong shape, weights that are not floats, and if the model has less than half of the file's keys.
    """
    unexpected = sorted(found.keys() - expected.keys())
    if 2 * len(unexpected) > len(found) or not found:
        raise JobError(
            f"{path}: not a {what}: {len(unexpected)} of {len(found)} keys are unknown: {first_names(unexpected)}"
        )
    if missing := [key for key in expected if key not in found]:
        raise JobError(
            f"{path}: {len(missing)} of {len(expected)} tensors of the {what} are missing: {first_names(missing)}"
        )
    shapes = {key: found[key].shape for key in expected}
    bad = [
        f"{key} is {list(shapes[key])}, not {list(shape)}" for key, shape in expected.items() if shapes[key] != shape
    ]
    if bad:
        raise JobError(f"{path}: {len(bad)} tensors of the {what} have the wrong shape: {first_names(bad)}")
    refuse_integers({key: found[key] for key in expected}, path)
    if not unexpected:
        return []
    return [
        f"{path.name}: {len(unexpected)} keys that the {what} does not have are left out: {first_names(unexpected)}"
    ]
