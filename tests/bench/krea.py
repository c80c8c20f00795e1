"""Measures Krea Realtime on a CUDA device: tiny models against the CPU, then speed and memory at the published size.

    PYTHONPATH=. python tests/bench/krea.py [HEIGHTxWIDTH ...]

The weights of 14 billion parameters are random and made on the device (28 GB in bfloat16). Needs no files, no network.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Plan
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.engine.lora_scales import LoraScales
from scope_batch.engine.text_encoder import PromptEncoder
from scope_batch.engine.transformer import CausalWan
from scope_batch.engine.vae_backends import WanVae
from scope_batch.events import silent
from scope_batch.pipelines.builtin import KREA
from tests.bench.gpu import count_syncs, say
from tests.plan.helpers import plan

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
BF16 = torch.bfloat16
LARGE = {"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824, "num_layers": 40}


def text_plan(chunks: int, height: int, width: int, **fields: Any) -> Plan:
    entries = [{"chunk": chunks - 2, "text": "B"}]
    return replace(plan(*entries, spec=KREA, num_frames=12 * chunks - 3, **fields), height=height, width=width)


def tiny() -> None:
    wanted = text_plan(4, 64, 96)
    made: dict[str, list[np.ndarray]] = {}
    for device, dtype in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16")):
        request = EngineRequest(KREA, models="tiny", device=device, dtype=dtype, noise_device="cpu")
        with load(request, silent).session(wanted, silent) as session:
            made[f"{device} {dtype}"] = [session.generate(chunk).latents().copy() for chunk in wanted.chunks]
    (_, want), *others = made.items()
    for name, got in others:
        errors = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(got, want, strict=True)]
        say(f"tiny, {name} against cpu float32", " ".join(f"{error:.1e}" for error in errors))


class AnyPrompt:
    """Replaces the text encoder: returns a different embedding for every text."""

    def prepare(self, texts: Iterable[str], report: object) -> None:
        pass

    def __call__(self, text: str) -> Tensor:
        return torch.randn(512, 4096, generator=torch.Generator().manual_seed(ord(text[0])))


def random_(module: nn.Module) -> Any:
    """Initialise a module on the device with weights that neither amplify nor extinguish the signal."""
    module.to_empty(device=CUDA).eval().requires_grad_(False)
    for name, tensor in module.state_dict().items():
        if tensor.ndim > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5)
        else:
            tensor.fill_(float("norm" in name and name.endswith("weight")))
    return module


def large() -> CausalEngine:
    with torch.device("meta"):
        transformer = CausalWan(**LARGE)
        vae = AutoencoderKLWan()
    for name, parameter in transformer.named_parameters():
        kept = any(part in name.split(".") for part in transformer._keep_in_fp32_modules)
        parameter.data = parameter.data.to(torch.float32 if kept else BF16)
    random_(transformer)
    transformer.rope = nn.Identity()
    return CausalEngine(
        spec=KREA,
        transformer=transformer,
        loras=LoraScales(transformer, {}),
        vae=WanVae(random_(vae.to(BF16))),
        prompts=cast(PromptEncoder, AnyPrompt()),
        device=CUDA,
        noise_device=CPU,
    )


def speed(engine: CausalEngine, height: int, width: int, bias: float) -> None:
    wanted = text_plan(9, height, width, kv_cache_attention_bias=bias)
    torch.cuda.reset_peak_memory_stats()
    held, seconds = torch.cuda.memory_allocated(), []
    with engine.session(wanted, silent) as session:
        for chunk in wanted.chunks:
            begun = time.monotonic()
            made = session.generate(chunk)
            torch.cuda.synchronize()
            seconds.append(time.monotonic() - begun)
            assert made.latents().std() > 0
    name = f"{width}x{height} bias {bias:g}"
    say(f"{name} frames per second", f"{12 / np.median(seconds[3:]):.2f}")
    say(f"{name} weights, peak, GB", f"{held / 1e9:.2f}, {torch.cuda.max_memory_allocated() / 1e9:.2f}")


def main() -> None:
    say("device", f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    tiny()
    engine = large()
    for size in sys.argv[1:] or ("320x576", "480x832"):
        height, width = map(int, size.split("x"))
        for bias in (1.0, 0.3):
            speed(engine, height, width, bias)
    count_syncs(engine, text_plan(6, 320, 576))


if __name__ == "__main__":
    main()
