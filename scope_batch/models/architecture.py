"""Reads the sizes of a model from the shapes of its tensors; only the number of heads comes from `config.json`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scope_batch.core import geometry
from scope_batch.errors import JobError
from scope_batch.files.access import read_json
from scope_batch.models.tae import TaeConfig

Shapes = Mapping[str, torch.Size]


def transformer_config(shapes: Shapes, path: Path, config: Path) -> dict[str, Any]:
    """Return the arguments of `WanTransformer3DModel` for a backbone whose diffusers keys have these shapes.

    path    of the backbone, for messages; config: Wan's `config.json`. Raises JobError if the shapes do not fit Wan.
    """
    inner, channels, *patch = _shape(shapes, "patch_embedding.weight", 5, path, "Wan backbone")
    heads = read_heads(config)
    if inner % heads:
        raise JobError(f"{path}: width {inner} cannot be split into the {heads} heads of {config}")
    return {
        "patch_size": tuple(patch),
        "num_attention_heads": heads,
        "attention_head_dim": inner // heads,
        "in_channels": channels,
        "out_channels": _shape(shapes, "proj_out.weight", 2, path, "Wan backbone")[0] // torch.Size(patch).numel(),
        "text_dim": _shape(shapes, "condition_embedder.text_embedder.linear_1.weight", 2, path, "Wan backbone")[1],
        "freq_dim": _shape(shapes, "condition_embedder.time_embedder.linear_1.weight", 2, path, "Wan backbone")[1],
        "ffn_dim": _shape(shapes, "blocks.0.ffn.net.0.proj.weight", 2, path, "Wan backbone")[0],
        "num_layers": _count(shapes, "blocks."),
    }


def vace_config(shapes: Shapes, layers: int, path: Path) -> dict[str, Any]:
    """Return the further arguments of `WanVACETransformer3DModel` for a module whose diffusers keys have these shapes.

    Its blocks are spread evenly over the backbone's `layers`, from the first on. Raises JobError if they do not fit.
    """
    channels = _shape(shapes, "vace_patch_embedding.weight", 5, path, "Wan VACE module")[1]
    if channels != geometry.VACE_CHANNELS:
        raise JobError(f"{path}: made for a VACE context of {channels} channels, not {geometry.VACE_CHANNELS}")
    blocks = _count(shapes, "vace_blocks.")
    vace_layers = list(range(0, layers, max(layers // blocks, 1))) if blocks else []
    if not blocks or len(vace_layers) != blocks:
        raise JobError(f"{path}: {blocks} VACE blocks cannot be spread over the {layers} layers of the backbone")
    return {"vace_layers": vace_layers, "vace_in_channels": channels}


def vae_config(shapes: Shapes, path: Path) -> dict[str, Any]:
    """Return the arguments of `AutoencoderKLWan` for a VAE whose diffusers keys have these shapes."""
    return {
        "base_dim": _shape(shapes, "encoder.conv_in.weight", 5, path, "Wan VAE")[0],
        "z_dim": _shape(shapes, "post_quant_conv.weight", 5, path, "Wan VAE")[0],
    }


def tae_config(shapes: Shapes, path: Path) -> TaeConfig:
    """Return the widths of a tiny auto-encoder whose keys have these shapes."""
    what = "tiny auto-encoder"
    wide, latent = _shape(shapes, "decoder.1.weight", 4, path, what)[:2]
    first, second, last = (_shape(shapes, f"decoder.{i}.weight", 4, path, what)[0] for i in (8, 14, 20))
    encoder = _shape(shapes, "encoder.0.weight", 4, path, what)[0]
    if latent != geometry.LATENT_CHANNELS:
        raise JobError(f"{path}: made for latents of {latent} channels, not {geometry.LATENT_CHANNELS}")
    return TaeConfig(encoder, (wide, first, second, last))


def text_encoder_config(shapes: Shapes, path: Path) -> dict[str, Any]:
    """Return the arguments of `UMT5Config` for a text encoder whose transformers keys have these shapes."""
    vocab, d_model = _shape(shapes, "shared.weight", 2, path, "UMT5 text encoder")
    first = "encoder.block.0.layer."
    bias = f"{first}0.SelfAttention.relative_attention_bias.weight"
    buckets, heads = _shape(shapes, bias, 2, path, "UMT5 text encoder")
    return {
        "vocab_size": vocab,
        "d_model": d_model,
        "d_kv": _shape(shapes, f"{first}0.SelfAttention.q.weight", 2, path, "UMT5 text encoder")[0] // heads,
        "d_ff": _shape(shapes, f"{first}1.DenseReluDense.wi_0.weight", 2, path, "UMT5 text encoder")[0],
        "num_layers": _count(shapes, "encoder.block."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
    }


def _shape(shapes: Shapes, key: str, axes: int, path: Path, what: str) -> torch.Size:
    if key not in shapes:
        raise JobError(f"{path}: not a {what}: {key} is missing; {_first_keys(shapes)}")
    if len(shapes[key]) != axes or 0 in shapes[key]:
        raise JobError(f"{path}: not a {what}: {key} is {list(shapes[key])}, which should have {axes} axes, none empty")
    return shapes[key]


def _count(shapes: Shapes, prefix: str) -> int:
    """Return the highest block number after `prefix` + 1. A block that is left out is later found as missing keys."""
    numbers = [key.removeprefix(prefix).split(".", 1)[0] for key in shapes if key.startswith(prefix)]
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)


def _first_keys(shapes: Shapes) -> str:
    """Name the first keys for a message, and the prefix that all keys share: an unknown one is the usual cause."""
    if not shapes:
        return "it has no tensors of that kind"
    common = os.path.commonprefix(list(shapes)) if len(shapes) > 1 else ""  # noqa: RUF071  (no paths)
    shared = common.rpartition(".")[0]
    prefix = f"; every key begins with '{shared}.', which is not known" if shared else ""
    return f"its first keys are {', '.join(list(shapes)[:5])}{prefix}"


def read_heads(config: Path) -> int:
    """Return the number of attention heads in a Wan `config.json`. Raises JobError if it has none."""
    settings = read_json(config)
    if not isinstance(settings, dict) or "num_heads" not in settings:
        raise JobError(f"{config}: not a Wan config.json: no num_heads")
    heads = settings["num_heads"]
    if type(heads) is not int or heads < 1:
        raise JobError(f"{config}: num_heads is {heads!r}; a positive whole number is needed")
    return heads
