"""Builds the jobs that are measured: text, a prompt change, video, VACE with and without masks, LoRAs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from scope_batch.core.geometry import Mode
from scope_batch.job import Job, load_job
from scope_batch.models.sizes import Backbone, model_sizes
from scope_batch.pipelines import KNOWN_PIPELINES

CASES = {
    "text": "text to video",
    "switch": "text to video; the prompt changes in the middle of the measured chunks",
    "video": "video to video",
    "vace": "control frames in every chunk",
    "vace-mask": "control frames, and a mask over half the picture",
    "lora-merged": "a LoRA of rank 32, merged into the weights",
    "lora-branch": "the same LoRA as a side branch whose scale changes in every chunk",
}
CLIP_FRAMES = 48
"""Length of input video, control and masks, which are repeated."""
LORA_RANK = 32


def case_job(
    name: str,
    *,
    pipeline_id: str,
    models: str | None,
    height: int,
    width: int,
    chunks: int,
    warmup: int,
    folder: Path,
    overrides: Sequence[str] = (),
) -> Job:
    """Return the job of a case. Its inputs, random, are written into `folder`. Raises as `load_job` does."""
    spec = KNOWN_PIPELINES.get(pipeline_id)
    mode: Mode = "video" if name == "video" else "text"
    frames = spec.chunk_frames(mode, first=True) + (chunks - 1) * spec.chunk_frames(mode, first=False)
    # The process's number, so that the text encoder is measured too: embeddings are kept in the cache folder.
    prompt = f"a lighthouse at dusk, {os.getpid()}"
    fields: dict[str, Any] = {
        "pipeline_id": pipeline_id,
        "prompt": prompt,
        "num_frames": frames,
        "height": height,
        "width": width,
    }
    match name:
        case "switch":
            fields["chunk_specs"] = [{"chunk": (warmup + chunks) // 2, "text": f"a ship at noon, {os.getpid()}"}]
        case "video":
            fields["input_path"] = _clip(folder, height, width)
        case "vace":
            fields |= {"vace_frames": _clip(folder, height, width), "vace_length": "loop"}
        case "vace-mask":
            fields |= {
                "vace_frames": _clip(folder, height, width),
                "vace_masks": _mask(folder, height, width),
                "vace_length": "loop",
            }
        case "lora-merged":
            fields["lora_scales"] = {_lora(folder, pipeline_id, models): 0.7}
        case "lora-branch":
            fields["lora_scales"] = {_lora(folder, pipeline_id, models): {"0": 0.2, str(frames - 1): 0.8}}
    return load_job(fields, overrides, models=models)


def _clip(folder: Path, height: int, width: int) -> str:
    path = folder / f"clip-{width}x{height}.npy"
    if not path.exists():
        rng = np.random.default_rng(1)
        np.save(path, rng.integers(0, 256, (CLIP_FRAMES, height, width, 3), np.uint8))
    return str(path)


def _mask(folder: Path, height: int, width: int) -> str:
    path = folder / f"mask-{width}x{height}.npy"
    if not path.exists():
        mask = np.zeros((1, 1, CLIP_FRAMES, height, width), np.float32)
        mask[..., : width // 2] = 1
        np.save(path, mask)
    return str(path)


def _lora(folder: Path, pipeline_id: str, models: str | None) -> str:
    sizes = model_sizes(pipeline_id, models, "wan", vace=False)
    assert sizes is not None, f"{pipeline_id} is one of the built-in pipelines"
    path = folder / f"lora-{sizes.backbone.width}.safetensors"
    if not path.exists():
        save_file(_lora_tensors(sizes.backbone), path)
    return str(path)


def _lora_tensors(backbone: Backbone) -> dict[str, Any]:
    """Return a LoRA for all linear layers of the blocks, small enough not to change the signal's size much."""
    rng = np.random.default_rng(1)
    width, ffn = backbone.width, backbone.ffn
    attention = [f"{kind}.{part}" for kind in ("self_attn", "cross_attn") for part in "qkvo"]
    layers = {**dict.fromkeys(attention, (width, width)), "ffn.0": (ffn, width), "ffn.2": (width, ffn)}
    tensors = {}
    for block in range(backbone.layers):
        for layer, (out, inp) in layers.items():
            name = f"diffusion_model.blocks.{block}.{layer}"
            a = rng.standard_normal((LORA_RANK, inp), np.float32) * inp**-0.5
            b = rng.standard_normal((out, LORA_RANK), np.float32) * 0.1 * LORA_RANK**-0.5
            tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = a.astype("f2"), b.astype("f2")
    return tensors
