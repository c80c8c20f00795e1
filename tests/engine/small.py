"""Builds an engine of two layers with random weights, which renders a chunk of 32 x 32 pixels in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk
from scope_batch.engine.loader import CausalEngine
from scope_batch.engine.lora_scales import LoraScales
from scope_batch.engine.text_encoder import PromptEncoder
from scope_batch.engine.transformer import CausalWan
from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.engine.vae_backends import TaeVae, WanVae
from scope_batch.models.lora.weights import Lora, Pair
from scope_batch.models.tae import TaeConfig, TinyAutoencoder
from scope_batch.pipelines import PipelineSpec

CPU = torch.device("cpu")
SIZE = 32
"""Height and width in pixels."""
WIDTH = 24
SIZES = {
    "num_attention_heads": 2,
    "attention_head_dim": WIDTH // 2,
    "ffn_dim": 16,
    "num_layers": 2,
    "text_dim": 8,
    "freq_dim": 8,
}


class AnyPrompt:
    """Replaces the text encoder: returns a different embedding for every text."""

    def prepare(self, texts: Iterable[str], report: object) -> None:
        pass

    def __call__(self, text: str) -> Tensor:
        return torch.randn(512, 8, generator=torch.Generator().manual_seed(sum(map(ord, text))))


def lora(*, vace: bool) -> Lora:
    """Build a LoRA that changes attention, the prompt's values, and a bias."""
    pair = Pair(torch.randn(2, WIDTH), torch.randn(WIDTH, 2), 0.3)
    modules = ["blocks.0.attn1.to_v", "blocks.1.attn2.to_v", *(["vace_blocks.0.attn2.to_k"] if vace else [])]
    moved = {"blocks.0.attn1.to_q.bias": torch.randn(WIDTH)}
    return Lora(Path("style.safetensors"), dict.fromkeys(modules, pair), moved)


def small_engine(spec: PipelineSpec, *, tiny_vae: bool = False, vace: bool = True) -> CausalEngine:
    """Build an engine with one LoRA side branch. Without VACE all other weights are the same."""
    torch.manual_seed(0)
    steered = CausalVaceWan(**SIZES, vace_layers=[0])
    transformer: CausalWan | CausalVaceWan = steered
    if not vace:
        transformer = CausalWan(**SIZES)
        transformer.load_state_dict({n: w for n, w in steered.state_dict().items() if not n.startswith("vace_")})
    transformer = transformer.eval().requires_grad_(False)
    torch.manual_seed(1)
    if tiny_vae:
        vae: TaeVae | WanVae = TaeVae(TinyAutoencoder(TaeConfig(4, (6, 5, 4, 4))).eval(), outputs_raw_latents=False)
    else:
        vae = WanVae(AutoencoderKLWan(base_dim=4, num_res_blocks=1).eval().requires_grad_(False))
    return CausalEngine(
        spec=spec,
        transformer=transformer,
        loras=LoraScales(transformer, {0: lora(vace=vace)}),
        vae=vae,
        prompts=cast(PromptEncoder, AnyPrompt()),
        device=CPU,
        noise_device=CPU,
    )


def inputs_of(chunk: Chunk) -> ChunkInputs:
    """Return random input video and control frames by chunk index; control is gray in the first two chunks."""
    rng = np.random.default_rng(chunk.index)
    pixels = control = None
    if chunk.mode == "video":
        pixels = rng.integers(0, 256, (chunk.frames, SIZE, SIZE, 3), dtype=np.uint8)
    if chunk.vace is not None:
        shape = (chunk.lead + chunk.frames, SIZE, SIZE)
        masks = np.ones(shape, np.float32) if chunk.index < 2 else rng.random(shape).round().astype(np.float32)
        frames = rng.uniform(-1, 1, (*shape, 3)).astype(np.float32)
        control = ControlFrames(frames, masks, inactive_is_gray=chunk.index < 2, reactive_is_gray=False)
    return ChunkInputs(pixels=pixels, control=control)
