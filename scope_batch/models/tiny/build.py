"""Builds the model files of `models: tiny` in the published layout, on first use, from the weights in this package.

They were trained by `examples/tiny_world` on drawn scenes, and run the real engine on a CPU in seconds. The weights are
stored once, in float16 or int8; all pipelines share them, two with changes of their own. Increase `folder.TINY_VERSION`
whenever a byte of any file changes.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from scope_batch.files import cache
from scope_batch.models import layout
from scope_batch.models.checkpoint import State
from scope_batch.models.folder import TINY_VERSION
from scope_batch.models.layout import TAES, VAES, Artifact, Role, VaeType
from scope_batch.models.tiny import tokenizer

WEIGHTS = Path(__file__).parent / "weights"
HEADS = 1

_BARE = {"rewardforcing.pt"}
"""Backbones whose published file holds the weights directly, not in an inner dictionary."""
_CHANGES = {"StreamDiffusionV2": "streamdiffusionv2", "krea-realtime-video": "krea-realtime-video"}
"""By folder of a backbone, the file of the changes that only this pipeline has."""

_EPOCH_S = 946_684_800
"""Modification time of every file: the fingerprint of a rebuilt file is then that of the old one."""


def tiny_models_folder(pipeline_id: str = "longlive", *, vae_type: VaeType = "lightvae", vace: bool = False) -> Path:
    """Return the cache folder with the tiny model files of `pipeline_id`. Missing or damaged files are built first.

    vae_type  any but "wan" and "lighttae"; see `folder.tiny_vae_type`. vace: with the VACE module.
    A lock and atomic renames allow any number of processes at once.
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
            BUILDERS[artifact.role](part, artifact.local)
            for file in [*part.rglob("*"), part]:
                os.utime(file, (_EPOCH_S, _EPOCH_S))
            cache.remove(target)
            part.rename(target)
        finally:
            cache.remove(part)
        cache.seal(target)


def _read(name: str) -> State:
    state = load((WEIGHTS / f"{name}.safetensors").read_bytes())
    return {key: state[key] for key in sorted(state)}  # loaded in any order


def _config(part: Path, _: PurePosixPath) -> None:
    wan = _read("wan")
    feed_forward, width = wan["blocks.0.ffn.net.0.proj.weight"].shape
    layers = len({key.split(".")[1] for key in wan if key.startswith("blocks.")})
    sizes = {"dim": width, "ffn_dim": feed_forward, "num_heads": HEADS, "num_layers": layers}
    part.write_text(json.dumps({"_class_name": "WanModel", "model_type": "t2v", **sizes}, indent=1) + "\n")


def _backbone(part: Path, local: PurePosixPath) -> None:
    state = _read("wan")
    if local.parts[0] in _CHANGES:
        state = changed(state, _read(_CHANGES[local.parts[0]]))
    if local.suffix == ".safetensors":
        part.write_bytes(save(state))
        return
    weights = {f"model.{key}": tensor for key, tensor in state.items()}
    _save(weights if local.name in _BARE else {"generator": weights}, part)


def changed(state: State, changes: State) -> State:
    """Return weights with changes of low rank, `NAME.lora_A.weight` and `NAME.lora_B.weight`; others replace theirs."""
    changed = state | {key: tensor for key, tensor in changes.items() if ".lora_" not in key}
    for key, down in changes.items():
        if key.endswith(".lora_A.weight"):
            name = key.removesuffix(".lora_A.weight")
            up = changes[f"{name}.lora_B.weight"]
            changed[f"{name}.weight"] = (state[f"{name}.weight"].float() + up.float() @ down.float()).half()
    return changed


def _lora(part: Path, _: PurePosixPath) -> None:
    """Write a LoRA that changes one weight by a millionth: the pipeline requires one, and refuses one of zeros."""
    rows, columns = _read("wan")["blocks.0.ffn.net.2.weight"].shape
    down, up = torch.zeros(1, columns), torch.zeros(rows, 1)
    down[0, 0], up[0, 0] = 1, 1e-6
    name = "base_model.model.blocks.0.ffn.2"
    _save({"generator_lora": {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}}, part)


def _vae(part: Path, local: PurePosixPath) -> None:
    if local in {VAES[name].local for name in TAES}:
        _save(_read("tae"), part)
    else:
        _save(unpacked_vae(_read("vae")), part)


def is_timed(name: str) -> bool:
    """Return True if the convolution of this name in the VAE uses all its time taps, not only the current frame's."""
    return name.startswith("decoder.mid_block.resnets.") or ".time_conv" in name


def packed_vae(state: State) -> State:
    """Return the weights of the VAE as the package stores them, in 1.7 MB.

    3x3 kernels are int8, with a float16 scale for each output channel; time taps that are zero are left out.
    """
    packed: State = {}
    for key, tensor in state.items():
        if tensor.ndim < 4 or tensor.shape[-1] != 3:
            packed[key] = tensor.half()
            continue
        kernel = (tensor[:, :, -1:] if _has_idle_taps(key, tensor) else tensor).float()
        scale = kernel.flatten(1).abs().amax(1).div(127).clamp(min=1e-7).half()
        packed[f"{key}.scale"] = scale
        packed[key] = (kernel / _of_outputs(scale, kernel)).round().clamp(-127, 127).to(torch.int8)
    return packed


def unpacked_vae(packed: State) -> State:
    """Invert `packed_vae`, in float16."""
    state: State = {}
    for key, tensor in packed.items():
        if tensor.dtype == torch.int8:
            kernel = (tensor.float() * _of_outputs(packed[f"{key}.scale"], tensor)).half()
            state[key] = F.pad(kernel, (0, 0, 0, 0, 2, 0)) if _has_idle_taps(key, tensor) else kernel
        elif not key.endswith(".scale"):
            state[key] = tensor
    return state


def _has_idle_taps(key: str, tensor: Tensor) -> bool:
    return tensor.ndim == 5 and tensor.shape[-1] == 3 and not is_timed(key)


def _of_outputs(scale: Tensor, kernel: Tensor) -> Tensor:
    return scale.float().reshape(-1, *[1] * (kernel.ndim - 1))


def _copy(part: Path, _: PurePosixPath, *, name: str) -> None:
    part.write_bytes((WEIGHTS / f"{name}.safetensors").read_bytes())


def _tokenizer(part: Path, _: PurePosixPath) -> None:
    tokenizer.save(part)


def _save(state: Any, part: Path) -> None:
    archive = io.BytesIO()  # written by Python, so that a full disk raises OSError and no error of torch
    torch.save(state, archive)
    part.write_bytes(archive.getbuffer())


BUILDERS: dict[Role, Callable[[Path, PurePosixPath], None]] = {
    "config": _config,
    "backbone": _backbone,
    "builtin_lora": _lora,
    "vae": _vae,
    "text_encoder": partial(_copy, name="text"),
    "tokenizer": _tokenizer,
    "vace": partial(_copy, name="vace"),
}
