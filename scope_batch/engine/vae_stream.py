"""Encodes pixels and decodes latents chunk by chunk with any of the VAEs.

Every stream owns the features of earlier frames that the VAE needs. The VAE itself keeps no state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scope_batch.core import geometry
from scope_batch.engine.device import copy_to

FeatureCache = list[Any]
"""One entry for each causal layer of an encoder or decoder: its last inputs, None at the start of a stream, or the
string "Rep", which diffusers' upsampling layers store. Entries are replaced; their tensors are never written to."""

LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
"""Mean and standard deviation of Wan 2.1's raw latents per channel."""


class Vae(Protocol):
    """A network that encodes groups of frames and decodes latent frames, given features of earlier frames.

    module               holds the weights.
    dtype, device        of the weights.
    outputs_raw_latents  True: `encode` returns Wan's posterior means; False: normalised latents.
    lead_frames          pixel frames to encode before the first group of four when a stream starts in the middle of a
                         sequence; their latent frames are discarded.
    """

    @property
    def module(self) -> nn.Module: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def outputs_raw_latents(self) -> bool: ...
    @property
    def lead_frames(self) -> int: ...

    def latents_of(self, frames: int, *, first: bool) -> int:
        """Return the number of latent frames for `frames` pixel frames; first: they start a stream.

        4n - 3 frames at the start of a stream and 4n frames later are always valid. Raises ValueError for a number that
        does not fill whole latent frames.
        """
        ...

    def groups(self, pixels: Tensor, *, first: bool) -> list[Tensor]:
        """Split [1, 3, T, H, W] into groups of one latent frame each. Raises ValueError like `latents_of`."""
        ...

    def new_encoder_cache(self) -> FeatureCache: ...

    def encode(self, group: Tensor, cache: FeatureCache) -> Tensor:
        """Encode a group [1, 3, t, H, W] in -1..1 to [1, 16, 1, h, w]. Replaces the entries of `cache`."""
        ...

    def new_decoder_cache(self) -> FeatureCache: ...

    def decode(self, latents: Tensor, cache: FeatureCache, *, first: bool) -> Iterator[Tensor]:
        """Decode [1, 16, F, h, w] to F times [3, 4, H, W], not clamped to -1..1.

        first  the latents start a stream: then the first one becomes [3, 1, H, W].
        """
        ...


class LatentStatistics:
    """Normalises latents by the mean and standard deviation of each channel."""

    def __init__(self, vae: Vae) -> None:
        def column(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, dtype=vae.dtype, device=vae.device).view(1, -1, 1, 1, 1)

        self.mean, self.std = column(LATENT_MEAN), column(LATENT_STD)

    def normalise(self, raw: Tensor) -> Tensor:
        return (raw - self.mean) / self.std

    def denormalise(self, latents: Tensor) -> Tensor:
        return latents * self.std + self.mean


class EncoderStream:
    """Encodes pixels to latents. The first call of a stream takes 4n - 3 frames, later calls 4n; see `Vae.latents_of`.

    normalised  return normalised latents; else the raw posterior means.
    """

    def __init__(self, vae: Vae, *, normalised: bool = True) -> None:
        self._vae, self._normalised, self._statistics = vae, normalised, LatentStatistics(vae)
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._features = self._vae.new_encoder_cache()
        self._started = False

    @property
    def device(self) -> torch.device:
        return self._vae.device

    @property
    def features(self) -> FeatureCache:
        """Return a copy of the list of features, with the same tensors."""
        return list(self._features)

    def continue_as(self, other: EncoderStream) -> None:
        """Continue where another stream of the same VAE is."""
        self._features, self._started = other.features, other._started

    def state(self) -> dict[str, Any]:
        return {"features": self.features, "started": int(self._started)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._features, self._started = copy_to(state["features"], self._vae.device), bool(state["started"])

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode [1, 3, T, H, W] in -1..1 to [1, F, 16, h, w] in the VAE's dtype."""
        groups = self._vae.groups(pixels, first=not self._started)
        self._started = True
        latents = torch.cat([self._vae.encode(group, self._features) for group in groups], dim=2)
        if self._vae.outputs_raw_latents and self._normalised:
            latents = self._statistics.normalise(latents)
        elif not self._vae.outputs_raw_latents and not self._normalised:
            latents = self._statistics.denormalise(latents)
        return latents.transpose(1, 2)


class DecoderStream:
    """Decodes latents to uint8 frames.

    recent  the last `recent_frames` frames before rounding, [1, 3, T, H, W] in -1..1 in the VAE's dtype. At the start
            of a stream there are fewer; before the first frame, or if `recent_frames` is 0, it is None.
    """

    def __init__(self, vae: Vae, *, recent_frames: int = 0) -> None:
        self._vae, self._statistics, self._recent_frames = vae, LatentStatistics(vae), recent_frames
        self.reset()

    def reset(self) -> None:
        """Start a new stream, whose first latent frame decodes to one pixel frame."""
        self._features = self._vae.new_decoder_cache()
        self._started = False
        self.recent: Tensor | None = None

    def state(self) -> dict[str, Any]:
        return {"features": list(self._features), "started": int(self._started), "recent": self.recent}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._features, self._started = copy_to(state["features"], self._vae.device), bool(state["started"])
        self.recent = copy_to(state["recent"], self._vae.device)

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Decode normalised latents [1, F, 16, h, w] to frames uint8 [T, H, W, 3], on the device.

        Also returns a bool [] on the device: True if all latents and pixels were finite.
        """
        count, height, width = latents.shape[1], latents.shape[3], latents.shape[4]
        total = geometry.frames_of_latents(count, first=not self._started)
        frames = torch.empty(
            (total, height * geometry.SPACE_STRIDE, width * geometry.SPACE_STRIDE, 3),
            dtype=torch.uint8,
            device=latents.device,
        )
        finite = torch.isfinite(latents).all()
        native = latents.transpose(1, 2).to(self._vae.dtype)
        if self._vae.outputs_raw_latents:
            native = self._statistics.denormalise(native)
        done = 0
        first, self._started = not self._started, True
        for pixels in self._vae.decode(native, self._features, first=first):
            finite &= torch.isfinite(pixels).all()
            if self._recent_frames:
                self._keep_recent(pixels[None].clamp(-1, 1))
            frames[done : done + pixels.shape[1]].copy_(to_uint8(pixels).permute(1, 2, 3, 0))
            done += pixels.shape[1]
        assert done == total, f"the decoder returned {done} frames instead of {total}"
        return frames, finite

    def _keep_recent(self, pixels: Tensor) -> None:
        if self.recent is None:
            self.recent = pixels
        else:
            kept = self._recent_frames - pixels.shape[2]
            self.recent = torch.cat([self.recent[:, :, -kept:], pixels], dim=2)


def to_uint8(pixels: Tensor) -> Tensor:
    """Map -1..1 to 0..255, clamped and rounded to nearest."""
    return pixels.float().clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """Map [T, H, W, 3] in 0..255 to float32 [1, 3, T, H, W] in -1..1."""
    return pixels.permute(3, 0, 1, 2).unsqueeze(0).float().div_(127.5).sub_(1)
