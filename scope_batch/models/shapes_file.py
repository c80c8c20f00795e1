"""Reads and writes the shapes of a checkpoint without its numbers, and draws random numbers in its place.

A `.shapes` file is JSON: key -> [dtype, shape], with the keys of the checkpoint. It stands where a checkpoint does, so
that the real loader fills a model of the published size in seconds, for measurements.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import torch
from torch import Tensor

SUFFIX = ".shapes"
_FP8 = torch.float8_e4m3fn
_GAINS = {"decoder.head.2.weight": 0.1}
"""Wan's VAE then draws noise of low contrast: that of full contrast would keep an encoder busier than films do."""


def shapes_text(tensors: dict[str, Tensor]) -> str:
    """Return the contents of a file for these tensors, which may be on `meta`."""
    entries = {key: [str(t.dtype).removeprefix("torch."), list(t.shape)] for key, t in tensors.items()}
    return json.dumps(entries)


def read_shapes_file(path: Path) -> dict[str, Tensor]:
    """Return tensors on `meta`."""
    entries = json.loads(path.read_text("utf-8"))
    return {
        key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, (dtype, shape) in entries.items()
    }


def draw(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Return tensors on `device`: the same numbers for the same file name on the same kind of device.

    They neither amplify nor extinguish a signal: matrices and kernels have a standard deviation of one over the root of
    their inputs, norms are 1, biases 0.
    """
    generator = torch.Generator(device).manual_seed(zlib.crc32(path.name.encode()))
    return {key: _drawn(key, tensor, generator) for key, tensor in read_shapes_file(path).items()}


def _drawn(key: str, shaped: Tensor, generator: torch.Generator) -> Tensor:
    dtype = torch.bfloat16 if shaped.dtype == _FP8 else shaped.dtype
    tensor = torch.empty(shaped.shape, dtype=dtype, device=generator.device)
    if key.endswith("gamma") or shaped.ndim == 1:
        return tensor.fill_(float(("norm" in key and key.endswith("weight")) or key.endswith("gamma")))
    std = _GAINS.get(key, 1.0) * shaped[0].numel() ** -0.5
    return tensor.normal_(std=std, generator=generator).to(shaped.dtype)
