"""Writes LoRA files for tests, from pairs by module in the original naming."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH, FFN = 256, 512
"""Sizes of the tiny models."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * shape[-1] ** -0.5


def pair(prefix: str, out: int = WIDTH, inp: int = WIDTH, rank: int = 4, seed: int = 0) -> dict[str, Tensor]:
    return {
        f"{prefix}.lora_A.weight": random(rank, inp, seed=seed),
        f"{prefix}.lora_B.weight": random(out, rank, seed=seed + 1),
    }


def write(path: Path, tensors: Mapping[str, Tensor], **metadata: str) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata=metadata or None)
    return path


def write_header(path: Path, entries: Mapping[str, tuple[str, list[int]]], **metadata: str) -> Path:
    """Write a sparse file of the right size for tensors {key: (dtype, shape)}."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for key, (dtype, shape) in entries.items():
        size = {"F32": 4, "BF16": 2, "I8": 1}[dtype]
        for n in shape:
            size *= n
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)
    return path
