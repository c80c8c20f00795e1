"""Trains the tiny auto-encoder of `vae_type: tae` to encode and decode the latents of the tiny world's VAE."""

from __future__ import annotations

import math
import time
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scope_batch.models.tae import Grow, MemoryBlock, Pool, TaeConfig, TinyAutoencoder

from .gpu import Replay
from .learning import statistics
from .scenes import PERIOD, Painter, draw_scenes
from .vae import ClipVae, picture_loss

CONFIG = TaeConfig(encoder=16, decoder=(24, 16, 16, 16))
PEAK_RATE = 3e-3
FRAMES = 17


def run_clips(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Run one half of a `TinyAutoencoder` over clips [batch, frames, channels, height, width] from their start."""
    for layer in layers:
        batch = len(x)
        if isinstance(layer, MemoryBlock):
            before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
            changed: Tensor = layer.conv(torch.cat([x, before], 2).flatten(0, 1))
            x = F.relu(changed.unflatten(0, (batch, -1)) + x)
        elif isinstance(layer, Pool | Grow):
            x = layer(x.flatten(0, 1).contiguous()).unflatten(0, (batch, -1))
        else:
            x = layer(x.flatten(0, 1)).unflatten(0, (batch, -1))
    return x


def train_tae(
    vae: ClipVae, painter: Painter, sizes: tuple[tuple[int, int], ...], seconds: float, pixels: float
) -> tuple[TinyAutoencoder, list[tuple[int, float]]]:
    """Train a new one with `pixels` per step. Returns it with the loss curve of the decoder."""
    device = painter.device
    on_gpu = device.type == "cuda"
    pool = draw_scenes(20_000, torch.Generator().manual_seed(61_000)).to(device)
    model, rate = TinyAutoencoder(CONFIG).to(device), torch.zeros((), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), fused=on_gpu, capturable=on_gpu)
    mean, deviation = statistics(device)

    def step(size: tuple[int, int]) -> Tensor:
        count = max(1, round(pixels / (FRAMES * size[0] * size[1])))
        scenes = pool[torch.randint(len(pool), (count,), device=device)]
        begin = torch.randint(PERIOD, (count, 1), device=device)
        real, thing = painter.paint(scenes, begin + torch.arange(FRAMES, device=device), *size)
        gain = 2 * torch.rand(count, 3, 1, 1, 1, device=device) - 1
        real = torch.where(torch.rand(count, 1, 1, 1, 1, device=device) < 0.1, real * gain, real)
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            with torch.no_grad():
                latents = ((vae.encode(real)[0] - mean) / deviation).transpose(1, 2)
            frames = real.transpose(1, 2).add(1).div(2)
            encoded = run_clips(model.encoder, torch.cat([frames[:, :1]] * 3 + [frames], 1))
            decoded = run_clips(model.decoder, latents + 0.1 * torch.randn_like(latents))[:, 3:]
        error = picture_loss(decoded.transpose(1, 2).float() * 2 - 1, real, thing)
        optimizer.zero_grad()
        (error + (encoded.float() - latents).square().mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return error.detach()

    replay, began, done, curve = Replay(device), time.monotonic(), 0, []
    while (share := (time.monotonic() - began) / seconds) < 1 or done < 2:
        rate.fill_(
            PEAK_RATE * min(1, (done + 1) / 100) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1, share))))
        )
        size = sizes[done % len(sizes)]
        error = replay(size, partial(step, size))
        if done % 50 == 0:
            curve.append((done, error.item()))
            if done % 500 == 0:
                print(f"tae {done} loss {curve[-1][1]:.4f} {share:.0%}", flush=True)
        done += 1
    print(f"tae: {done} steps", flush=True)
    return model, curve
