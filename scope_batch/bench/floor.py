"""Counts the arithmetic of a chunk from the shapes of the networks, and the least time a device needs for it.

A multiplication with its addition counts as two operations. Element-wise work counts as none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from scope_batch.core import geometry
from scope_batch.core.plan import Chunk, Plan
from scope_batch.engine.vae_backends import TaeVae, WanVae
from scope_batch.models.modules import empty_vae
from scope_batch.models.tae import TinyAutoencoder
from scope_batch.pipelines.spec import PipelineSpec

if TYPE_CHECKING:
    from scope_batch.models.folder import ModelFiles
    from scope_batch.models.sizes import ModelSizes

PEAK_TFLOPS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
    "RTX 6000 Ada": 364.0,
    "RTX A6000": 155.0,
    "RTX 5090": 209.5,
    "RTX 4090": 165.2,
    "RTX 4080": 97.5,
    "RTX 3090": 71.0,
}
"""Dense bfloat16 with float32 sums, in TFLOP/s, from the makers' data sheets, by a part of the device's name."""


@dataclass(frozen=True, slots=True)
class Work:
    """TFLOP of one chunk by stage, as `StageClock` names the stages."""

    stages: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.stages.values())


def peak_tflops(device_name: str) -> float | None:
    """Return the peak of a device in bfloat16; None if it is not known."""
    return next((peak for name, peak in PEAK_TFLOPS.items() if name in device_name), None)


def chunk_work(plan: Plan, spec: PipelineSpec, chunk: Chunk, sizes: ModelSizes, vae: VaeWork) -> Work:
    """Count a chunk whose window is full. LoRA branches and the work around the blocks are left out."""
    kv_latents = spec.window + (geometry.BANK_SLOTS if plan.memory_bank else 0)
    if spec.memory == "context":
        kv_latents = geometry.CONTEXT_LATENTS + chunk.latents
    per_latent = geometry.tokens_per_latent(plan.height, plan.width)
    tokens, kv_tokens = chunk.latents * per_latent, kv_latents * per_latent
    one_pass = _pass(sizes, tokens, kv_tokens)
    stages = {"denoising": len(chunk.denoising_steps) * one_pass}
    if spec.clean_pass:
        stages["caching"] = _caching_pass(sizes, tokens, kv_tokens)
    if spec.memory == "context":
        context = geometry.CONTEXT_LATENTS * per_latent
        stages["context"] = _caching_pass(sizes, context, context) + vae.encode_latent
    encodes = int(chunk.mode == "video")
    if chunk.vace is not None:
        if chunk.vace.scale > 0:
            blocks = sizes.vace_blocks / sizes.backbone.layers
            stages["denoising"] += len(chunk.denoising_steps) * blocks * _pass(sizes, tokens, tokens)
        encodes += 2 if chunk.vace.has_frames else 0
    if encodes:
        stages["encoding"] = encodes * chunk.latents * vae.encode_latent
    stages["decoding"] = chunk.latents * vae.decode_latent
    return Work({stage: flop / 1e12 for stage, flop in stages.items()})


def _pass(sizes: ModelSizes, tokens: int, kv_tokens: int) -> float:
    """Return the operations of all blocks in one forward pass; keys and values of the prompt are cached."""
    width, ffn = sizes.backbone.width, sizes.backbone.ffn
    linear = 2 * tokens * (6 * width * width + 2 * width * ffn)
    attention = 4 * tokens * (kv_tokens + geometry.TEXT_TOKENS) * width
    return float(sizes.backbone.layers * (linear + attention))


def _caching_pass(sizes: ModelSizes, tokens: int, kv_tokens: int) -> float:
    """Return the operations of a pass that only fills the caches: the last block computes keys and values alone."""
    layers, width = sizes.backbone.layers, sizes.backbone.width
    return _pass(sizes, tokens, kv_tokens) * (layers - 1) / layers + 4.0 * tokens * width * width


@dataclass(frozen=True, slots=True)
class VaeWork:
    """Operations to decode and to encode one latent frame in the middle of a stream."""

    decode_latent: float
    encode_latent: float


@lru_cache
def vae_work(files: ModelFiles, height: int, width: int) -> VaeWork:
    """Count by running the real module on `meta`, where tensors have shapes and no numbers."""
    module = empty_vae(files.vae, files.vae_type).requires_grad_(False)
    vae = TaeVae(module, outputs_raw_latents=False) if isinstance(module, TinyAutoencoder) else WanVae(module)
    rows, columns = height // geometry.SPACE_STRIDE, width // geometry.SPACE_STRIDE
    latent = torch.empty(1, geometry.LATENT_CHANNELS, 1, rows, columns, device="meta")
    group = torch.empty(1, 3, geometry.TIME_STRIDE, height, width, device="meta")
    features, encoder_features = vae.new_decoder_cache(), vae.new_encoder_cache()
    with torch.no_grad():
        list(vae.decode(latent, features, first=True))
        vae.encode(group[:, :, :1] if isinstance(vae, WanVae) else group, encoder_features)
        for _ in range(2):  # the second latent frame of a stream still lacks some features
            with FlopCounterMode(display=False) as decoding:
                list(vae.decode(latent, features, first=False))
            with FlopCounterMode(display=False) as encoding:
                vae.encode(group, encoder_features)
    return VaeWork(float(decoding.get_total_flops()), float(encoding.get_total_flops()))
