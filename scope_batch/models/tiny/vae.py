"""Builds the VAE of the tiny models: Wan's network, 8 channels wide, with smooth kernels."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from scope_batch.models.checkpoint import State
from scope_batch.models.tiny.random_weights import Stream

BASE_DIM = 8
_LATENT = 16
Shape = tuple[int, ...]

_CRISP, _SOFT = (0.1, 0.8, 0.1), (0.25, 0.5, 0.25)
_GAINS = {"decoder.head.2.weight": 1.1, "encoder.head.2.weight": 2.0}


def vae(rng: Stream, base_dim: int = BASE_DIM) -> State:
    """Build all weights of a Wan VAE of this width, in original naming."""
    return {key: _weight(rng, key, shape) for key, shape in vae_shapes(base_dim)}


def _weight(rng: Stream, key: str, shape: Shape) -> Tensor:
    if key.endswith("gamma"):
        return 1 + rng(*shape, k=0.1)
    if key.endswith("bias"):
        return torch.zeros(shape)  # a constant offset would give every picture a colour cast
    out, inp, *kernel = shape
    if "time_conv" in key:
        return _time_kernel(out, inp)
    mix = rng(out, inp, k=_GAINS.get(key, 0.7 if "residual" in key else 1.0) * inp**-0.5)
    if "residual" in key or "head" in key:
        mix -= mix.mean(dim=1, keepdim=True)  # inputs are positive on average and would add a colour cast too
    return mix.reshape(out, inp, *[1] * len(kernel)) * _kernel(kernel, _SOFT if "resample" in key else _CRISP)


def _time_kernel(out: int, inp: int) -> Tensor:
    """Return the kernel of a time convolution.

    Upsampling yields the mean of the frame before and this frame, then this frame; downsampling a mean of three frames.
    """
    same = torch.eye(inp).reshape(inp, inp, 1, 1, 1)
    before, this = (same * torch.tensor(taps).reshape(3, 1, 1) for taps in ((0.0, 0.5, 0.5), (0.0, 0.0, 1.0)))
    return torch.cat([before, this]) if out == 2 * inp else same * torch.tensor((0.25, 0.5, 0.25)).reshape(3, 1, 1)


def _kernel(sizes: list[int], space: tuple[float, ...]) -> Tensor:
    """Return a separable low-pass over the last two axes; over time it takes the current frame alone."""
    taps = [torch.tensor((0.0, 0.0, 1.0) if len(sizes) - i == 3 else space) for i in range(len(sizes))]
    grid = torch.meshgrid(
        *(tap if size == 3 else torch.ones(1) for tap, size in zip(taps, sizes, strict=True)), indexing="ij"
    )
    return prod(grid[1:], start=grid[0])


def vae_shapes(base_dim: int) -> Iterator[tuple[str, Shape]]:
    """Yield key and shape of every tensor of a Wan VAE file of this width (96: published, 24: lightvae)."""
    yield from _encoder(base_dim)
    yield from _conv("conv1", 2 * _LATENT, 2 * _LATENT, 1, 1, 1)
    yield from _conv("conv2", _LATENT, _LATENT, 1, 1, 1)
    yield from _decoder(base_dim)


def _encoder(base: int) -> Iterator[tuple[str, Shape]]:
    yield from _conv("encoder.conv1", base, 3, 3, 3, 3)
    wide, index = base, 0
    for stage, out in enumerate((base, 2 * base, 4 * base, 4 * base)):
        for _ in range(2):
            yield from _residual(f"encoder.downsamples.{index}", out, wide)
            wide, index = out, index + 1
        if stage < 3:
            yield from _conv(f"encoder.downsamples.{index}.resample.1", out, out, 3, 3)
            if stage > 0:
                yield from _conv(f"encoder.downsamples.{index}.time_conv", out, out, 3, 1, 1)
            index += 1
    yield from _middle("encoder.middle", wide)
    yield "encoder.head.0.gamma", (wide, 1, 1, 1)
    yield from _conv("encoder.head.2", 2 * _LATENT, wide, 3, 3, 3)


def _decoder(base: int) -> Iterator[tuple[str, Shape]]:
    wide, index = 4 * base, 0
    yield from _conv("decoder.conv1", wide, _LATENT, 3, 3, 3)
    yield from _middle("decoder.middle", wide)
    for stage, out in enumerate((4 * base, 4 * base, 2 * base, base)):
        for _ in range(3):
            yield from _residual(f"decoder.upsamples.{index}", out, wide)
            wide, index = out, index + 1
        if stage < 3:
            yield from _conv(f"decoder.upsamples.{index}.resample.1", out // 2, out, 3, 3)
            if stage < 2:
                yield from _conv(f"decoder.upsamples.{index}.time_conv", 2 * out, out, 3, 1, 1)
            wide, index = out // 2, index + 1
    yield "decoder.head.0.gamma", (wide, 1, 1, 1)
    yield from _conv("decoder.head.2", 3, wide, 3, 3, 3)


def _middle(name: str, wide: int) -> Iterator[tuple[str, Shape]]:
    yield from _residual(f"{name}.0", wide, wide)
    yield f"{name}.1.norm.gamma", (wide, 1, 1)
    yield from _conv(f"{name}.1.to_qkv", 3 * wide, wide, 1, 1)
    yield from _conv(f"{name}.1.proj", wide, wide, 1, 1)
    yield from _residual(f"{name}.2", wide, wide)


def _residual(name: str, out: int, inp: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.residual.0.gamma", (inp, 1, 1, 1)
    yield from _conv(f"{name}.residual.2", out, inp, 3, 3, 3)
    yield f"{name}.residual.3.gamma", (out, 1, 1, 1)
    yield from _conv(f"{name}.residual.6", out, out, 3, 3, 3)
    if out != inp:
        yield from _conv(f"{name}.shortcut", out, inp, 1, 1, 1)


def _conv(name: str, out: int, inp: int, *kernel: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (out, inp, *kernel)
    yield f"{name}.bias", (out,)
