"""Speeds up small models on a GPU: a training step as one CUDA graph, and a fused kernel for norm and SiLU.

For small models, launching kernels takes longer than running them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU, no need
    triton = None


class Replay:
    """Runs steps as captured CUDA graphs, by key. A step is called twice, then captured; without a GPU always called.

    A step must read and write tensors at fixed addresses, draw random numbers on the device, and never wait for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def __call__(self, key: Hashable, step: Callable[[], Tensor]) -> Tensor:
        """Run the step and return its result, which the next call overwrites."""
        if self._pool is None:
            return step()
        if key not in self._graphs:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                step()
                step()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                out = step()
            self._graphs[key] = graph, out
        graph, out = self._graphs[key]
        graph.replay()
        return out


@cache
def on_device(values: tuple[object, ...], device: torch.device) -> Tensor:
    """Copy the values to the device once, because a copy in every step would wait for the device."""
    return torch.tensor(values, device=device)


def select(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """Return x[:, places]. Its gradient is a matrix product, which is faster than PyTorch's for repeated places."""
    selected: Tensor = _Select.apply(x, places)
    return selected


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, places: tuple[int, ...]) -> Tensor:
        context.places, context.count = places, x.shape[1]
        return x.index_select(1, on_device(places, x.device))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0]
        use = tuple(tuple(float(place == i) for place in context.places) for i in range(context.count))
        return (on_device(use, gradient.device).to(gradient.dtype) @ gradient.flatten(2)).view(
            gradient.shape[0], -1, *gradient.shape[2:]
        ), None


ROWS = 64
"""Pixels per program of the kernels below."""


def norm_silu(x: Tensor, gamma: Tensor) -> Tensor:
    """Return SiLU of the RMS norm over channels, like `WanRMS_norm`. x [pictures, channels, height, width]."""
    gamma = gamma.flatten()
    if triton is None or not x.is_cuda:
        inverse = x.shape[1] ** 0.5 / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        return F.silu(x * inverse * gamma[:, None, None])
    fused: Tensor = _NormSilu.apply(x.contiguous(memory_format=torch.channels_last), gamma)
    return fused


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, gamma: Tensor) -> Tensor:
        context.save_for_backward(x, gamma)
        out = torch.empty_like(x)
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        _forward[(triton.cdiv(rows, ROWS),)](x, gamma, out, rows, channels, ROWS)
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, gamma = context.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        to_x = torch.empty_like(x)
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        programs = triton.cdiv(rows, ROWS)
        to_gamma = torch.empty(programs, channels, device=x.device)
        _backward[(programs,)](x, gamma, gradient, to_x, to_gamma, rows, channels, ROWS)
        return to_x, to_gamma.sum(0)


if triton is not None:

    @triton.jit
    def _forward(x_at, gamma_at, out_at, rows, CHANNELS: tl.constexpr, ROWS: tl.constexpr):  # noqa: N803  (Triton spells constants so)
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = tl.arange(0, CHANNELS)
        place = row[:, None] * CHANNELS + column[None, :]
        inside = (row < rows)[:, None]
        x = tl.load(x_at + place, mask=inside, other=0.0).to(tl.float32)
        scale = tl.rsqrt(tl.sum(x * x, axis=1) / CHANNELS + 1e-20)[:, None]
        y = x * scale * tl.load(gamma_at + column)[None, :].to(tl.float32)
        tl.store(out_at + place, y * tl.sigmoid(y), mask=inside)

    @triton.jit
    def _backward(x_at, gamma_at, gradient_at, to_x_at, to_gamma_at, rows, CHANNELS: tl.constexpr, ROWS: tl.constexpr):  # noqa: N803  (Triton spells constants so)
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = tl.arange(0, CHANNELS)
        place = row[:, None] * CHANNELS + column[None, :]
        inside = (row < rows)[:, None]
        x = tl.load(x_at + place, mask=inside, other=0.0).to(tl.float32)
        gradient = tl.load(gradient_at + place, mask=inside, other=0.0).to(tl.float32)
        gamma = tl.load(gamma_at + column)[None, :].to(tl.float32)
        scale = tl.rsqrt(tl.sum(x * x, axis=1) / CHANNELS + 1e-20)[:, None]
        y = x * scale * gamma
        share = tl.sigmoid(y)
        to_y = gradient * share * (1 + y * (1 - share))
        tl.store(to_gamma_at + tl.program_id(0) * CHANNELS + column, tl.sum(to_y * x * scale, axis=0))
        to_normal = to_y * gamma
        along = tl.sum(to_normal * x, axis=1)[:, None] * scale * scale / CHANNELS
        tl.store(to_x_at + place, scale * (to_normal - x * along), mask=inside)
