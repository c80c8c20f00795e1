"""Wan's causal VAE, chunk by chunk: diffusers' encoder and decoder driven with feature lists of our own.

`vae.encode` and `vae.decode` forget the past at every call, so a stream never uses them. A stream's memory is the two
last inputs of every causal convolution; the first frame or latent of a stream finds it empty.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from scope_batch import laws


class LatentStatistics:
    """Mean and standard deviation per latent channel (diffusers' config of Wan 2.1), [1, 16, 1, 1, 1]."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=vae.dtype, device=vae.device).view(1, -1, 1, 1, 1)

        self.mean, self.std = column(vae.config.latents_mean), column(vae.config.latents_std)

    def normalise(self, raw: Tensor) -> Tensor:
        return (raw - self.mean) / self.std

    def denormalise(self, latents: Tensor) -> Tensor:
        return latents * self.std + self.mean


class EncoderStream:
    """Pixels -> latents. The first call of a stream takes 4n - 3 frames, later ones 4n."""

    def __init__(self, vae: AutoencoderKLWan, statistics: LatentStatistics) -> None:
        self._vae, self._statistics = vae, statistics
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._features: list[Any] = [None] * self._vae._cached_conv_counts["encoder"]
        self._started = False

    @property
    def features(self) -> list[Any]:
        """The stream's memory. Its tensors are never written to."""
        return list(self._features)

    def continue_as(self, other: EncoderStream) -> None:
        """Take over what another stream has seen."""
        self._features, self._started = other.features, other._started

    def encode(self, pixels: Tensor) -> Tensor:
        """[1, 3, T, H, W] in -1..1 -> normalised posterior means [1, F, 16, h, w] in the VAE's dtype."""
        laws.latents_of_frames(pixels.shape[2], first=not self._started)
        head = 0 if self._started else 1
        groups = [pixels[:, :, :1]] if head else []
        groups += list(pixels[:, :, head:].split(laws.TIME_STRIDE, dim=2)) if pixels.shape[2] > head else []
        self._started = True
        encoded = [self._vae.encoder(group, feat_cache=self._features, feat_idx=[0]) for group in groups]
        moments = self._vae.quant_conv(torch.cat(encoded, dim=2))
        return self._statistics.normalise(moments[:, : laws.LATENT_CHANNELS]).transpose(1, 2)


class DecoderStream:
    """Latents -> uint8 frames."""

    def __init__(self, vae: AutoencoderKLWan, statistics: LatentStatistics) -> None:
        self._vae, self._statistics = vae, statistics
        self.reset()

    def reset(self) -> None:
        """Start a new stream: its first latent frame becomes one pixel frame."""
        self._features: list[Any] = [None] * self._vae._cached_conv_counts["decoder"]
        self._started = False

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised latents [1, F, 16, h, w] -> (frames uint8 [T, H, W, 3], finite: bool []), both on the device."""
        raw = self._statistics.denormalise(latents.transpose(1, 2).to(self._vae.dtype))
        prepared = self._vae.post_quant_conv(raw)
        count, height, width = latents.shape[1], latents.shape[3], latents.shape[4]
        frames = torch.empty(
            (
                laws.frames_of_latents(count, first=not self._started),
                height * laws.SPACE_STRIDE,
                width * laws.SPACE_STRIDE,
                3,
            ),
            dtype=torch.uint8,
            device=latents.device,
        )
        finite = torch.isfinite(latents).all()
        done = 0
        for latent in prepared.split(1, dim=2):
            pixels = self._vae.decoder(latent, feat_cache=self._features, feat_idx=[0], first_chunk=not self._started)[
                0
            ]
            self._started = True
            finite &= torch.isfinite(pixels).all()
            made = pixels.shape[1]
            frames[done : done + made].copy_(to_uint8(pixels).permute(1, 2, 3, 0))
            done += made
        assert done == len(frames), f"the decoder made {done} frames of {len(frames)}"
        return frames, finite


def to_uint8(pixels: Tensor) -> Tensor:
    """-1..1 -> 0..255, rounded to nearest."""
    return pixels.float().clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """[T, H, W, 3] in 0..255 -> float32 [1, 3, T, H, W] in -1..1."""
    return pixels.permute(3, 0, 1, 2).unsqueeze(0).float().div_(127.5).sub_(1)
