"""Runs a small Wan VAE over whole clips at once, and trains it.

Most convolutions use only one of their three time taps, that of the current frame. So a clip can be processed as a
batch of pictures, which is fast, needs a third of the weights and cannot drift in long videos. Only the four
convolutions that change the number of frames, and the middle of the decoder, use all time taps. Unused taps are zero,
so that the file is an ordinary Wan VAE. The first frame of a clip has its own latent frame; four frames share each of
the others.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanCausalConv3d,
    WanResample,
    WanResidualBlock,
)
from torch import Tensor
from torch.nn import functional as F

from scope_batch.engine.vae_stream import LATENT_MEAN, LATENT_STD
from scope_batch.models.tiny.build import is_timed

from .gpu import Replay, norm_silu
from .scenes import PERIOD, Painter, Scenes, change_scenes, draw_scenes

BASE_CHANNELS = 16
PEAK_RATE, PICTURES_SHARE = 1.5e-3, 0.25
"""Peak learning rate, and share of the time that is spent on single pictures, of a new VAE."""
RESUMED_RATE = 6e-4
"""Peak learning rate of a VAE that is trained further, without single pictures."""
SPREAD_WEIGHT = 4e-4
"""Weight of the latents' divergence from a normal distribution, which makes the decoder tolerate small errors."""


def new_vae(device: torch.device) -> AutoencoderKLWan:
    """Create a VAE with random weights, in which the time convolutions pass frames through unchanged."""
    with device:
        vae = AutoencoderKLWan(base_dim=BASE_CHANNELS)
    with torch.no_grad():
        for conv in vae.modules():
            if not isinstance(conv, WanCausalConv3d) or conv.kernel_size[0] != 3:
                continue
            if conv.kernel_size[1] == 1:
                conv.weight.zero_()
                conv.bias.zero_()
                channels = conv.in_channels
                for half in conv.weight.split(channels):
                    half[:, :, 2, 0, 0] = torch.eye(channels, device=device)
            else:
                conv.weight[:, :, 2] *= 3**0.5
                conv.weight[:, :, :2] = 0
    return vae


class ClipVae:
    """Runs an `AutoencoderKLWan` over whole clips. The results are those of the engine's streams."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        self.vae = vae
        self._timed = {id(conv) for name, conv in vae.named_modules() if is_timed(name)}

    def encode(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Encode [batch, 3, 4n + 1 frames, 8h, 8w] to mean and log variance, [batch, 16, n + 1, h, w] each."""
        frames = clips.shape[2]
        x = self._conv(self.vae.encoder.conv_in, _to_pictures(clips), frames)
        for layer in self.vae.encoder.down_blocks:
            x, frames = self._layer(layer, x, frames)
        x = self._ends(self.vae.encoder, x, frames)
        moments = _to_clips(self._conv(self.vae.quant_conv, x, frames), frames)
        mean, log_variance = moments.float().chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 4)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode [batch, 16, n + 1, h, w] to [batch, 3, 4n + 1 frames, 8h, 8w]."""
        frames = latents.shape[2]
        x = self._conv(self.vae.post_quant_conv, _to_pictures(latents), frames)
        decoder: Any = self.vae.decoder
        x = self._middle(decoder, self._conv(decoder.conv_in, x, frames), frames)
        for block in decoder.up_blocks:
            for layer in [*block.resnets, *(block.upsamplers or [])]:
                x, frames = self._layer(layer, x, frames)
        x = self._conv(decoder.conv_out, norm_silu(x, decoder.norm_out.gamma), frames)
        return _to_clips(x, frames).float()

    def _ends(self, half: Any, x: Tensor, frames: int) -> Tensor:
        x = self._middle(half, x, frames)
        return self._conv(half.conv_out, norm_silu(x, half.norm_out.gamma), frames)

    def _middle(self, half: Any, x: Tensor, frames: int) -> Tensor:
        first, second = half.mid_block.resnets
        for layer in (first, half.mid_block.attentions[0], second):
            x, _ = self._layer(layer, x, frames)
        return x

    def _layer(self, layer: Any, x: Tensor, frames: int) -> tuple[Tensor, int]:
        if isinstance(layer, WanResample):
            return self._resample(layer, x, frames)
        if isinstance(layer, WanAttentionBlock):
            return x + self._attention(layer, x), frames
        assert isinstance(layer, WanResidualBlock)
        shortcut = layer.conv_shortcut
        kept = self._conv(shortcut, x, frames) if isinstance(shortcut, WanCausalConv3d) else x
        x = self._conv(layer.conv1, norm_silu(x, layer.norm1.gamma), frames)
        x = self._conv(layer.conv2, norm_silu(x, layer.norm2.gamma), frames)
        return x + kept, frames

    def _conv(self, conv: Any, x: Tensor, frames: int) -> Tensor:
        padding = conv.kernel_size[1] // 2
        if conv.kernel_size[0] == 3 and id(conv) in self._timed:
            weight = conv.weight.transpose(1, 2).flatten(1, 2)
            return F.conv2d(_with_past(x, frames), weight, conv.bias, padding=padding)
        return F.conv2d(x, conv.weight[:, :, -1], conv.bias, padding=padding)

    def _attention(self, block: Any, x: Tensor) -> Tensor:
        pictures, channels, height, width = x.shape
        qkv = block.to_qkv(block.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1)
        seen = F.scaled_dot_product_attention(*qkv.chunk(3, dim=-1))
        shaped: Tensor = block.proj(seen.squeeze(1).transpose(1, 2).reshape(pictures, channels, height, width))
        return shaped

    def _resample(self, layer: Any, x: Tensor, frames: int) -> tuple[Tensor, int]:
        """Resample in time and space; the first frame is not resampled in time."""
        longer = layer.mode == "upsample3d" and frames > 1
        if longer:
            x, frames = self._longer(layer.time_conv, x, frames)
        if layer.mode.startswith("upsample"):
            x = layer.resample[1](F.interpolate(x, scale_factor=2.0, mode="nearest-exact"))
        else:
            x = layer.resample(x)
        if layer.mode == "downsample3d" and frames > 1:
            x, frames = self._shorter(layer.time_conv, x, frames)
        return x, frames

    def _shorter(self, conv: Any, x: Tensor, frames: int) -> tuple[Tensor, int]:
        clip = x.unflatten(0, (-1, frames))
        seen = torch.cat([clip[:, 0:-2:2], clip[:, 1:-1:2], clip[:, 2::2]], dim=2)
        made = F.conv2d(
            seen.flatten(0, 1), conv.weight[..., 0, 0].transpose(1, 2).flatten(1)[..., None, None], conv.bias
        )
        made = made.unflatten(0, (len(clip), -1))
        return torch.cat([clip[:, :1].to(made.dtype), made], 1).flatten(0, 1), made.shape[1] + 1

    def _longer(self, conv: Any, x: Tensor, frames: int) -> tuple[Tensor, int]:
        clip = x.unflatten(0, (-1, frames))
        later = _with_past(clip[:, 1:].flatten(0, 1), frames - 1)
        made = F.conv2d(later, conv.weight[..., 0, 0].transpose(1, 2).flatten(1)[..., None, None], conv.bias)
        made = made.unflatten(1, (2, -1)).flatten(0, 1).unflatten(0, (len(clip), -1))
        return torch.cat([clip[:, :1].to(made.dtype), made], 1).flatten(0, 1), made.shape[1] + 1


def _to_pictures(clips: Tensor) -> Tensor:
    return clips.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _to_clips(pictures: Tensor, frames: int) -> Tensor:
    return pictures.unflatten(0, (-1, frames)).transpose(1, 2)


def _with_past(x: Tensor, frames: int) -> Tensor:
    """Concatenate the channels of each picture's two predecessors in its clip (zeros before the first) and its own."""
    clip = x.unflatten(0, (-1, frames))
    nothing = torch.zeros_like(clip[:, :1])
    one = torch.cat([nothing, clip[:, :-1]], 1)
    two = torch.cat([nothing, one[:, :-1]], 1)
    return torch.cat([two, one, clip], 2).flatten(0, 1)


def picture_loss(made: Tensor, real: Tensor, thing: Tensor) -> Tensor:
    """Return the absolute and squared error, and that of neighbour differences, weighted threefold on the thing."""
    weight = 1 + 2 * thing
    error = made - real
    loss = (error.abs() * weight).mean() + 2 * (error.square() * weight).mean()
    across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
    return loss + (across * weight[..., 1:]).mean() + (down * weight[..., 1:, :]).mean()


def train_vae(
    run: ClipVae, painter: Painter, seconds: float, sizes: list[tuple[int, int]], pixels: float, resumed: bool
) -> list[tuple[int, float]]:
    """Train first on pictures, then on clips, with `pixels` per step. Returns the loss curve."""
    peak, pictures = (RESUMED_RATE, 0.0) if resumed else (PEAK_RATE, PICTURES_SHARE)
    device = painter.device
    drawn = draw_scenes(20_000, torch.Generator().manual_seed(1))
    pool = drawn.to(device), change_scenes(drawn, torch.Generator().manual_seed(2)).to(device)
    rate = torch.zeros((), device=device)
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.AdamW(run.vae.parameters(), rate, betas=(0.9, 0.99), fused=on_gpu, capturable=on_gpu)

    def step(frames: int, size: tuple[int, int]) -> Tensor:
        count = max(1, round(pixels / (frames * size[0] * size[1])))
        real, thing = _training_clips(painter, pool, count, frames, *size)
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            mean, log_variance = run.encode(real)
            made = run.decode(mean + torch.randn_like(mean) * (0.5 * log_variance).exp())
        spread = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        error = picture_loss(made, real, thing)
        optimizer.zero_grad()
        (error + SPREAD_WEIGHT * spread).backward()
        torch.nn.utils.clip_grad_norm_(run.vae.parameters(), 1.0)
        optimizer.step()
        return torch.stack([error.detach(), spread.detach()])

    replay, began, done, curve = Replay(device), time.monotonic(), 0, []
    while (share := (time.monotonic() - began) / seconds) < 1 or done < 2:
        frames, size = 1 if share < pictures else (17, 33)[done % 2], sizes[done // 2 % len(sizes)]
        rate.fill_(peak * min(1, (done + 1) / 100) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1, share)))))
        told = replay((frames, size), partial(step, frames, size))
        if done % 50 == 0:
            error, spread = told.tolist()
            curve.append((done, error))
            if done % 500 == 0:
                print(f"vae {done} frames {frames} loss {error:.4f} spread {spread:.2f} {share:.0%}", flush=True)
        done += 1
    print(f"vae: {done} steps", flush=True)
    return curve


@torch.no_grad()
def _training_clips(
    painter: Painter, pool: tuple[Scenes, Scenes], count: int, frames: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Draw clips of scenes from random times on; long ones change scene, and some are altered to vary the material."""
    device = painter.device
    rows = torch.randint(len(pool[0]), (count,), device=device)
    before, after = (scenes[rows] for scenes in pool)
    moments = torch.randint(PERIOD, (count, 1), device=device) + torch.arange(frames, device=device)
    if frames > 30:
        parts = [
            painter.paint(before, moments[:, :9], height, width),
            painter.paint(after, moments[:, 9:], height, width),
        ]
        real, thing = (torch.cat([first, second], 2) for first, second in zip(*parts, strict=True))
    else:
        real, thing = painter.paint(before, moments, height, width)
    kind = torch.rand(count, 1, 1, 1, 1, device=device)
    gain = 2 * torch.rand(count, 3, 1, 1, 1, device=device) - 1
    real = torch.where(kind < 0.05, real * gain, real)
    real = torch.where((kind > 0.05) & (kind < 0.1), real.mean(1, keepdim=True), real)
    real = torch.where((kind > 0.1) & (kind < 0.14), torch.where(thing > 0.5, 0.0, real), real)
    real = torch.where((kind > 0.14) & (kind < 0.18), torch.where(thing > 0.5, real, 0.0), real)
    return real, thing


@torch.no_grad()
def fold_statistics(vae: AutoencoderKLWan, mean: Tensor, deviation: Tensor) -> None:
    """Rescale the VAE so that its latents have Wan's published statistics. mean, deviation: its own, per channel."""
    published = [torch.tensor(values, device=mean.device) for values in (LATENT_MEAN, LATENT_STD)]
    gain = published[1] / deviation
    shift = published[0] - mean * gain
    leaves: Any = vae.quant_conv
    leaves.weight[:16] *= gain.view(-1, 1, 1, 1, 1)
    leaves.bias[:16] = leaves.bias[:16] * gain + shift
    enters: Any = vae.post_quant_conv
    enters.bias += torch.einsum("oi,i->o", enters.weight[:, :, 0, 0, 0], -shift / gain)
    enters.weight /= gain.view(1, -1, 1, 1, 1)


def psnr(made: Tensor, real: Tensor) -> float:
    """Return the PSNR in decibels of pixels in -1..1."""
    return 10 * math.log10(4 / (made - real).square().mean().item())
