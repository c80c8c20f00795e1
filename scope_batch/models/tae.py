"""The tiny auto-encoder's network: plain convolutions frame by frame, and blocks that also see the frame before.

Frames are a batch here, [T, C, H, W], in order. The memory is the last input frame of every such block, one entry each,
None at the start of a stream; it is the caller's, and its tensors are never written to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scope_batch.core import geometry

MEMORY_BLOCKS = 9
"""Blocks with a memory, in the encoder as in the decoder."""
GROWS = {"decoder.7.conv.weight": 1, "decoder.13.conv.weight": 2, "decoder.19.conv.weight": 2}
"""Frames that these layers make of one. Their file may hold channels for more: the last ones count."""


@dataclass(frozen=True, slots=True)
class TaeConfig:
    """Channels within the encoder, and within the four stages of the decoder from the latent on."""

    encoder: int = 64
    decoder: tuple[int, int, int, int] = (256, 128, 64, 64)


class MemoryBlock(nn.Module):
    """A residual block that sees every frame beside the one before it."""

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
        """`last`: the input frame before these, [1, C, H, W]; None = there is none."""
        before = torch.cat([torch.zeros_like(frames[:1]) if last is None else last, frames[:-1]])
        made: Tensor = self.conv(torch.cat([frames, before], dim=1))
        return made.add_(frames).relu_()


class Pool(nn.Module):
    """`stride` frames become one."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(stride * channels, channels, 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        made: Tensor = self.conv(frames.reshape(-1, self.stride * frames.shape[1], *frames.shape[2:]))
        return made


class Grow(nn.Module):
    """One frame becomes `stride`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, stride * channels, 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        made: Tensor = self.conv(frames)
        return made.reshape(-1, *frames.shape[1:])


class SoftClamp(nn.Module):
    """Latents to -3..3."""

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / 3) * 3


class TinyAutoencoder(nn.Module):
    """Pixels in 0..1 <-> latents; 4 frames and 8 x 8 pixels per latent cell. Keys are those of the published files."""

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
        """[4n, 3, H, W] -> [n, 16, H/8, W/8]; replaces the entries of `memory`."""
        return _run(self.encoder, frames, memory)

    def decode(self, latents: Tensor, memory: list[Any]) -> Tensor:
        """[n, 16, h, w] -> [4n, 3, 8h, 8w]; replaces the entries of `memory`."""
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
    """The tensors of a file, its growing layers cut to the channels that count."""
    return {key: tensor[-_kept(key, tensor.shape) :] if tensor.ndim else tensor for key, tensor in state.items()}


def _kept(key: str, shape: torch.Size) -> int:
    return min(shape[0], GROWS[key] * shape[1]) if key in GROWS and len(shape) > 1 else shape[0]
