"""Defines the network of the tiny auto-encoders: convolutions of single frames, and blocks that see two frames.

Consecutive frames are a batch, [T, C, H, W]. The caller owns the memory: a list with the last input frame of each such
block, None at the start of a stream. Entries are replaced; their tensors are never written to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scope_batch.core import geometry

MEMORY_BLOCKS = 9
"""Number of memory blocks in the encoder, and in the decoder."""
GROWS = {"decoder.7.conv.weight": 1, "decoder.13.conv.weight": 2, "decoder.19.conv.weight": 2}
"""Output frames per input frame of these layers. A file may have channels for more; then the last ones are used."""


@dataclass(frozen=True, slots=True)
class TaeConfig:
    """Channels in the encoder, and in the four stages of the decoder, from the latents to the pixels."""

    encoder: int = 64
    decoder: tuple[int, int, int, int] = (256, 128, 64, 64)


class MemoryBlock(nn.Module):
    """A residual block whose convolutions see each frame together with the frame before it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * channels, channels),
            nn.ReLU(inplace=True),
            _conv(channels, channels),
            nn.ReLU(inplace=True),
            _conv(channels, channels),
        )

    def forward(self, frames: Tensor, last: Tensor | None) -> Tensor:
        """Map [T, C, H, W] to the same shape. last: the input frame before these, [1, C, H, W]; None = zeros."""
        before = torch.cat([torch.zeros_like(frames[:1]) if last is None else last, frames[:-1]])
        residual: Tensor = self.conv(torch.cat([frames, before], dim=1))
        return residual.add_(frames).relu_()


class Pool(nn.Module):
    """Merges each group of `stride` frames into one frame."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(stride * channels, channels, 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        merged: Tensor = self.conv(frames.reshape(-1, self.stride * frames.shape[1], *frames.shape[2:]))
        return merged


class Grow(nn.Module):
    """Expands each frame into `stride` frames."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, stride * channels, 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        expanded: Tensor = self.conv(frames)
        return expanded.reshape(-1, *frames.shape[1:])


class SoftClamp(nn.Module):
    """Limits latents smoothly to -3..3."""

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / 3) * 3


class TinyAutoencoder(nn.Module):
    """Encodes pixels in 0..1 to latents and back, 4 frames of 8 x 8 pixels per latent cell.

    Parameters have the names of the published files.
    """

    def __init__(self, config: TaeConfig) -> None:
        super().__init__()
        self.encoder, self.decoder = _encoder(config), _decoder(config)

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder[0].weight.dtype  # type: ignore[return-value]  # Sequential gives no type to its layers

    @property
    def device(self) -> torch.device:
        return self.encoder[0].weight.device  # type: ignore[return-value]  # Sequential gives no type to its layers

    def encode(self, frames: Tensor, memory: list[Any]) -> Tensor:
        """Encode [4n, 3, H, W] to [n, 16, H/8, W/8]. Replaces the entries of `memory`."""
        return _run(self.encoder, frames, memory)

    def decode(self, latents: Tensor, memory: list[Any]) -> Tensor:
        """Decode [n, 16, h, w] to [4n, 3, 8h, 8w]. Replaces the entries of `memory`."""
        return _run(self.decoder, latents, memory)


def _run(layers: nn.Sequential, frames: Tensor, memory: list[Any]) -> Tensor:
    block = 0
    for layer in layers:
        if isinstance(layer, MemoryBlock):
            last, memory[block] = memory[block], frames[-1:].clone()  # a view would keep all the frames
            frames = layer(frames, last)
            block += 1
        else:
            frames = layer(frames)
    return frames


def _conv(inp: int, out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inp, out, 3, stride=stride, padding=1, bias=bias)


def _encoder(config: TaeConfig) -> nn.Sequential:
    wide = config.encoder
    layers: list[nn.Module] = [_conv(3, wide), nn.ReLU(inplace=True)]
    for frames in (2, 2, 1):
        layers += [Pool(wide, frames), _conv(wide, wide, stride=2, bias=False)]
        layers += [MemoryBlock(wide) for _ in range(3)]
    return nn.Sequential(*layers, _conv(wide, geometry.LATENT_CHANNELS))


def _decoder(config: TaeConfig) -> nn.Sequential:
    wide = config.decoder[0]
    layers: list[nn.Module] = [SoftClamp(), _conv(geometry.LATENT_CHANNELS, wide), nn.ReLU(inplace=True)]
    for out, frames in zip(config.decoder[1:], GROWS.values(), strict=True):
        layers += [MemoryBlock(wide) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), Grow(wide, frames), _conv(wide, out, bias=False)]
        wide = out
    return nn.Sequential(*layers, nn.ReLU(inplace=True), _conv(wide, 3))


def fitted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file, with the layers in `GROWS` cut to the channels that are used."""
    return {
        key: tensor[-_used_channels(key, tensor.shape) :] if tensor.ndim else tensor for key, tensor in state.items()
    }


def _used_channels(key: str, shape: torch.Size) -> int:
    return min(shape[0], GROWS[key] * shape[1]) if key in GROWS and len(shape) > 1 else shape[0]
