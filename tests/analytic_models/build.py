"""Builds an analytic set of tiny models, from fixed random numbers, in the place of the trained one.

It is smaller and faster, has the wrappings of the published files, and answers to every prompt: a render shows
drifting coloured shapes. Most tests use it as `models: tiny`: see `_own_cache` in `tests/conftest.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
import torch
from safetensors.torch import save

from scope_batch.models.layout import TAES, VAES, Role
from scope_batch.models.tiny import build
from tests.analytic_models import random_weights as tiny_weights
from tests.analytic_models import tae, tokenizer, vae
from tests.analytic_models import vace as tiny_vace

HEADS, LAYERS, FFN, RANK = 2, 4, 512, 8

_BARE = {"rewardforcing.pt"}
"""Backbones whose published file holds the weights directly, not in an inner dictionary."""


def _config(part: Path, _: PurePosixPath) -> None:
    sizes = {"dim": HEADS * tiny_weights.HEAD_DIM, "ffn_dim": FFN, "num_heads": HEADS, "num_layers": LAYERS}
    part.write_text(json.dumps({"_class_name": "WanModel", "model_type": "t2v", **sizes}, indent=1) + "\n")


def _backbone(part: Path, local: PurePosixPath) -> None:
    state = tiny_weights.transformer(tiny_weights.stream(str(local)), heads=HEADS, layers=LAYERS, ffn=FFN)
    state = {key: tensor.to(torch.bfloat16) for key, tensor in state.items()}
    if local.suffix == ".safetensors":
        part.write_bytes(save(state))
        return
    weights = {f"model.{key}": tensor for key, tensor in state.items()}
    build._save(weights if local.name in _BARE else {"generator": weights}, part)


def _lora(part: Path, local: PurePosixPath) -> None:
    state = tiny_weights.lora(tiny_weights.stream(str(local)), heads=HEADS, layers=LAYERS, ffn=FFN, rank=RANK)
    build._save({"generator_lora": {key: tensor.to(torch.bfloat16) for key, tensor in state.items()}}, part)


def _vae(part: Path, local: PurePosixPath) -> None:
    make = tae.tae if local in {VAES[name].local for name in TAES} else vae.vae
    build._save(make(tiny_weights.stream(str(local))), part)


def _text_encoder(part: Path, local: PurePosixPath) -> None:
    state = tiny_weights.text_encoder(tiny_weights.stream(str(local)), vocab=tokenizer.VOCAB)
    part.write_bytes(save({key: tensor.to(tiny_weights.text_dtype(key)) for key, tensor in state.items()}))


def _tokenizer(part: Path, _: PurePosixPath) -> None:
    tokenizer.save(part)


def _vace(part: Path, local: PurePosixPath) -> None:
    state = tiny_vace.vace(tiny_weights.stream(str(local)), heads=HEADS, layers=LAYERS, ffn=FFN)
    part.write_bytes(save({key: tensor.to(torch.bfloat16) for key, tensor in state.items()}))


BUILDERS: dict[Role, Callable[[Path, PurePosixPath], None]] = {
    "config": _config,
    "backbone": _backbone,
    "builtin_lora": _lora,
    "vae": _vae,
    "text_encoder": _text_encoder,
    "tokenizer": _tokenizer,
    "vace": _vace,
}


def build_all() -> None:
    """Build the files of all pipelines in the cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "BUILDERS", BUILDERS)
        for pipeline_id in ("longlive", "streamdiffusionv2", "memflow", "reward-forcing", "krea-realtime-video"):
            for vae_type in ("lightvae", "tae", "lighttae"):
                build.tiny_models_folder(pipeline_id, vae_type=vae_type, vace=True)
