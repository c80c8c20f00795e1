"""Builds the VAE of the tiny models: Wan's network, 8 channels wide, with smooth kernels."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from scope_batch.models.checkpoint import State
from scope_batch.models.vae_shapes import Shape, vae_shapes
from tests.analytic_models.random_weights import Stream

BASE_DIM = 8

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
