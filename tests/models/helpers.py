from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scope_batch.models.folder import ModelFiles, find_models

CPU = torch.device("cpu")
BACKBONE = "LongLive-1.3B/models/longlive_base.pt"
LORA = "LongLive-1.3B/models/lora.pt"
TEXT_ENCODER = "WanVideo_comfy/umt5-xxl-enc-fp8_e4m3fn.safetensors"
VAE = "Autoencoders/lightvaew2_1.pth"


def longlive(folder: Path) -> ModelFiles:
    return find_models("longlive", str(folder), vae_type="lightvae")


def linked(folder: Path, target: Path) -> None:
    """Copy `folder` with links to its files."""
    shutil.copytree(folder, target, copy_function=lambda source, to: Path(to).symlink_to(source))


def changed(folder: Path, target: Path, path: str, change: Callable[[dict[str, Any]], None]) -> ModelFiles:
    """Copy `folder` and apply `change` to the inner dictionary of the pickle `path`."""
    linked(folder, target)
    loaded = torch.load(folder / path, weights_only=True)
    change(next(iter(loaded.values())) if len(loaded) == 1 else loaded)
    (target / path).unlink()
    torch.save(loaded, target / path)
    return longlive(target)
