"""Builds the model files of `models: tiny` from fixed random numbers, in the published layout, on first use.

They run the real engine on a CPU in seconds and need no download. A render shows drifting coloured shapes that depend
on the prompt, no pictures. Increase `folder.TINY_VERSION` whenever a byte of any file changes.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import save

from scope_batch.files import cache
from scope_batch.models import layout
from scope_batch.models.folder import TINY_VERSION
from scope_batch.models.layout import TAES, VAES, Artifact, Role, VaeType
from scope_batch.models.tiny import random_weights as tiny_weights
from scope_batch.models.tiny import tae, tokenizer, vae
from scope_batch.models.tiny import vace as tiny_vace

HEADS, LAYERS, FFN, RANK = 2, 4, 512, 8

_BARE = {"rewardforcing.pt"}
"""Backbones whose published file holds the weights directly, not in an inner dictionary."""

_EPOCH_S = 946_684_800
"""Modification time of every file: the fingerprint of a rebuilt file is then that of the old one."""


def tiny_models_folder(pipeline_id: str = "longlive", *, vae_type: VaeType = "lightvae", vace: bool = False) -> Path:
    """Return the cache folder with the tiny model files of `pipeline_id`. Missing or damaged files are built first.

    vae_type  any but "wan", for which "lightvae" is used; vace: with the VACE module.
    It takes about a second the first time. A lock and atomic renames allow any number of processes at once.
    """
    folder = cache.cache_folder("tiny", f"v{TINY_VERSION}")
    artifacts = layout.artifacts(pipeline_id, vae_type, vace=vace)
    if all(cache.is_sound(folder / a.local) for a in artifacts):
        return folder
    with cache.lock(folder):
        for artifact in artifacts:
            if not cache.is_sound(folder / artifact.local):
                _build(folder, artifact)
    return folder


def _build(folder: Path, artifact: Artifact) -> None:
    target = folder / artifact.local
    part = target.with_name(f"part-{target.name}")
    with cache.writing(target):
        part.parent.mkdir(parents=True, exist_ok=True)
        cache.remove(part)
        try:
            _BUILDERS[artifact.role](part, artifact.local)
            for file in [*part.rglob("*"), part]:
                os.utime(file, (_EPOCH_S, _EPOCH_S))
            cache.remove(target)
            part.rename(target)
        finally:
            cache.remove(part)
        cache.seal(target)


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
    _save(weights if local.name in _BARE else {"generator": weights}, part)


def _lora(part: Path, local: PurePosixPath) -> None:
    state = tiny_weights.lora(tiny_weights.stream(str(local)), heads=HEADS, layers=LAYERS, ffn=FFN, rank=RANK)
    _save({"generator_lora": {key: tensor.to(torch.bfloat16) for key, tensor in state.items()}}, part)


def _vae(part: Path, local: PurePosixPath) -> None:
    build = tae.tae if local in {VAES[name].local for name in TAES} else vae.vae
    _save(build(tiny_weights.stream(str(local))), part)


def _text_encoder(part: Path, local: PurePosixPath) -> None:
    state = tiny_weights.text_encoder(tiny_weights.stream(str(local)), vocab=tokenizer.VOCAB)
    part.write_bytes(save({key: tensor.to(tiny_weights.text_dtype(key)) for key, tensor in state.items()}))


def _tokenizer(part: Path, _: PurePosixPath) -> None:
    tokenizer.save(part)


def _vace(part: Path, local: PurePosixPath) -> None:
    state = tiny_vace.vace(tiny_weights.stream(str(local)), heads=HEADS, layers=LAYERS, ffn=FFN)
    part.write_bytes(save({key: tensor.to(torch.bfloat16) for key, tensor in state.items()}))


def _save(state: Any, part: Path) -> None:
    archive = io.BytesIO()  # written by Python, so that a full disk raises OSError and no error of torch
    torch.save(state, archive)
    part.write_bytes(archive.getbuffer())


_BUILDERS: dict[Role, Callable[[Path, PurePosixPath], None]] = {
    "config": _config,
    "backbone": _backbone,
    "builtin_lora": _lora,
    "vae": _vae,
    "text_encoder": _text_encoder,
    "tokenizer": _tokenizer,
    "vace": _vace,
}
