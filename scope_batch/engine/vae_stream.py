"""Pixels <-> latents, chunk by chunk, whichever VAE does it. A stream's memory is its own; a VAE keeps none."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scope_batch import laws

Memory = list[Any]
"""What a network remembers of a stream, one entry per part; None: nothing yet. Tensors in it are never written to."""

LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
"""Of Wan 2.1's raw latents, per channel."""


class Vae(Protocol):
    """A network that encodes groups of frames and decodes single latent frames, given what went before.

    module        holds the weights; dtype and device are theirs.
    speaks_raw    its latents are Wan's posterior means; else they are normalised.
    lead_frames   pixel frames that go before groups of four where a stream starts in the middle of a sequence; their
                  latent frames are thrown away.
    """

    @property
    def module(self) -> nn.Module: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def speaks_raw(self) -> bool: ...
    @property
    def lead_frames(self) -> int: ...

    def latents_of(self, frames: int, *, first: bool) -> int:
        """Latent frames that pixel frames encode to; `first`: a stream starts here.

        4n - 3 frames at the start of a stream and 4n later always fill them. Raises ValueError where they do not.
        """
        ...

    def groups(self, pixels: Tensor, *, first: bool) -> list[Tensor]:
        """[1, 3, T, H, W] cut into what makes one latent frame each. Raises as `latents_of`."""
        ...

    def encoder_memory(self) -> Memory: ...

    def encode(self, group: Tensor, memory: Memory) -> Tensor:
        """[1, 3, t, H, W] in -1..1 -> [1, 16, 1, h, w]; replaces the entries of `memory`."""
        ...

    def decoder_memory(self) -> Memory: ...

    def decode(self, latent: Tensor, memory: Memory, *, first: bool) -> Tensor:
        """[1, 16, 1, h, w] -> [3, 4, H, W] around -1..1, at the start of a stream [3, 1, H, W]."""
        ...


class LatentStatistics:
    """Mean and standard deviation per latent channel, [1, 16, 1, 1, 1]."""

    def __init__(self, vae: Vae) -> None:
        def column(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, dtype=vae.dtype, device=vae.device).view(1, -1, 1, 1, 1)

        self.mean, self.std = column(LATENT_MEAN), column(LATENT_STD)

    def normalise(self, raw: Tensor) -> Tensor:
        return (raw - self.mean) / self.std

    def denormalise(self, latents: Tensor) -> Tensor:
        return latents * self.std + self.mean


class EncoderStream:
    """Pixels -> latents. The first call of a stream takes 4n - 3 frames, later ones 4n; some VAEs take others too.

    normalised  as the transformers take latents; else the raw posterior means.
    """

    def __init__(self, vae: Vae, *, normalised: bool = True) -> None:
        self._vae, self._normalised, self._statistics = vae, normalised, LatentStatistics(vae)
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._memory = self._vae.encoder_memory()
        self._started = False

    @property
    def memory(self) -> Memory:
        return list(self._memory)

    def continue_as(self, other: EncoderStream) -> None:
        """Take over what another stream has seen."""
        self._memory, self._started = other.memory, other._started

    def encode(self, pixels: Tensor) -> Tensor:
        """[1, 3, T, H, W] in -1..1 -> [1, F, 16, h, w] in the VAE's dtype."""
        groups = self._vae.groups(pixels, first=not self._started)
        self._started = True
        latents = torch.cat([self._vae.encode(group, self._memory) for group in groups], dim=2)
        if self._vae.speaks_raw and self._normalised:
            latents = self._statistics.normalise(latents)
        elif not self._vae.speaks_raw and not self._normalised:
            latents = self._statistics.denormalise(latents)
        return latents.transpose(1, 2)


class DecoderStream:
    """Latents -> uint8 frames.

    recent  the last `in_sight` frames of the stream before rounding, [1, 3, T, H, W] in -1..1 in the VAE's dtype; fewer
            at its start, None before it and where nobody asks for them.
    """

    def __init__(self, vae: Vae, *, in_sight: int = 0) -> None:
        self._vae, self._statistics, self._in_sight = vae, LatentStatistics(vae), in_sight
        self.reset()

    def reset(self) -> None:
        """Start a new stream: its first latent frame becomes one pixel frame."""
        self._memory = self._vae.decoder_memory()
        self._started = False
        self.recent: Tensor | None = None

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised latents [1, F, 16, h, w] -> (frames uint8 [T, H, W, 3], finite: bool []), both on the device."""
        count, height, width = latents.shape[1], latents.shape[3], latents.shape[4]
        made = laws.frames_of_latents(count, first=not self._started)
        frames = torch.empty(
            (made, height * laws.SPACE_STRIDE, width * laws.SPACE_STRIDE, 3), dtype=torch.uint8, device=latents.device
        )
        finite = torch.isfinite(latents).all()
        spoken = latents.transpose(1, 2).to(self._vae.dtype)
        if self._vae.speaks_raw:
            spoken = self._statistics.denormalise(spoken)
        done = 0
        for latent in spoken.split(1, dim=2):
            pixels = self._vae.decode(latent, self._memory, first=not self._started)
            self._started = True
            finite &= torch.isfinite(pixels).all()
            if self._in_sight:
                self._see(pixels[None].clamp(-1, 1))
            frames[done : done + pixels.shape[1]].copy_(to_uint8(pixels).permute(1, 2, 3, 0))
            done += pixels.shape[1]
        assert done == made, f"the decoder made {done} frames of {made}"
        return frames, finite

    def _see(self, pixels: Tensor) -> None:
        if self.recent is None:
            self.recent = pixels
        else:
            kept = self._in_sight - pixels.shape[2]
            self.recent = torch.cat([self.recent[:, :, -kept:], pixels], dim=2)


def to_uint8(pixels: Tensor) -> Tensor:
    """-1..1 -> 0..255, rounded to nearest."""
    return pixels.float().clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """[T, H, W, 3] in 0..255 -> float32 [1, 3, T, H, W] in -1..1."""
    return pixels.permute(3, 0, 1, 2).unsqueeze(0).float().div_(127.5).sub_(1)
