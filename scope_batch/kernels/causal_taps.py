"""Prepares the input of a causal 3D convolution, so that one 2D convolution computes it.

A kernel of 3x3x3 taps over frames t-2, t-1, t is a 3x3 convolution over three times as many channels: `taps[t]` holds
the channels of these three frames side by side. One pass over memory adds the bias of the convolution before, adds the
residual, normalises, applies SiLU and writes the taps.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

SHIFTED_PIXELS = 128
"""Pixels of one program of `add_shifted`."""


def write_taps(
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    *,
    history: Tensor,
    taps: Tensor,
    gamma: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """Write `taps` [T, H, W, 3C] from x + bias + residual, and return the new history [2, H, W, C].

    x, residual  [T, H, W, C]; bias: [C].
    history      the two frames before x, as they were written: the history that the call before returned.
    gamma        [C]: divide by the root mean square over the channels, multiply by gamma, apply SiLU. None: neither.
    total        [T, H, W, C], takes x + bias + residual.

    All tensors are contiguous, of one dtype and on one device. Sums are float32 and rounded once.
    """
    frames, height, width, channels = x.shape
    kept = torch.empty_like(history)
    pixels = height * width
    block_pixels = _pixels_per_program(channels)
    _write_taps[(triton.cdiv(pixels, block_pixels),)](
        x,
        history,
        taps,
        kept,
        x if bias is None else bias,
        x if residual is None else residual,
        x if gamma is None else gamma,
        x if total is None else total,
        frames,
        pixels,
        channels,
        channels**0.5,
        has_bias=bias is not None,
        has_residual=residual is not None,
        normalise=gamma is not None,
        has_total=total is not None,
        block_pixels=block_pixels,
        block_channels=triton.next_power_of_2(channels),
    )
    return kept


def _pixels_per_program(channels: int) -> int:
    """Return the number of pixels that gave the highest bandwidth on an H200."""
    return 8 if channels <= 256 else 4


@triton.jit  # type: ignore[untyped-decorator]  # Triton is untyped
def _write_taps(  # type: ignore[no-untyped-def]  # a kernel's arguments are pointers and numbers
    x,
    history,
    taps,
    kept,
    bias,
    residual,
    gamma,
    total,
    frames,
    pixels,
    channels,
    root,
    has_bias: tl.constexpr,
    has_residual: tl.constexpr,
    normalise: tl.constexpr,
    has_total: tl.constexpr,
    block_pixels: tl.constexpr,
    block_channels: tl.constexpr,
):
    pixel = (tl.program_id(0) * block_pixels + tl.arange(0, block_pixels)).to(tl.int64)[:, None]
    channel = tl.arange(0, block_channels)[None, :]
    inside = (pixel < pixels) & (channel < channels)
    plane = pixels.to(tl.int64) * channels
    here = pixel * channels + channel
    there = pixel * (3 * channels) + channel
    older = tl.load(history + here, inside)
    newer = tl.load(history + plane + here, inside)
    dtype = older.dtype
    if has_bias:
        offset = tl.load(bias + channel, channel < channels, 0.0).to(tl.float32)
    if normalise:
        weight = tl.load(gamma + channel, channel < channels, 0.0).to(tl.float32)
    for frame in range(frames):
        start = frame * plane
        value = tl.load(x + start + here, inside, 0.0).to(tl.float32)
        if has_bias:
            value += offset
        if has_residual:
            value += tl.load(residual + start + here, inside, 0.0).to(tl.float32)
        if has_total:
            tl.store(total + start + here, value.to(dtype), inside)
        if normalise:
            value = tl.where(inside, value.to(dtype).to(tl.float32), 0.0)
            length = tl.sqrt(tl.sum(value * value, 1, keep_dims=True))
            value = value * (root / tl.maximum(length, 1e-12)) * weight
            value = value * tl.sigmoid(value)
        newest = value.to(dtype)
        tl.store(taps + 3 * start + there, older, inside)
        tl.store(taps + 3 * start + there + channels, newer, inside)
        tl.store(taps + 3 * start + there + 2 * channels, newest, inside)
        older = newer
        newer = newest
    tl.store(kept + here, older, inside)
    tl.store(kept + plane + here, newer, inside)


def enlarge(x: Tensor, bias: Tensor | None, residual: Tensor | None, *, interleave: int = 1) -> Tensor:
    """Double height and width of x + bias + residual, [T, H, W, K * C], by repeating pixels: [K * T, 2H, 2W, C].

    interleave  K: every frame becomes K frames, from one group of C channels each.
    """
    frames, height, width, channels = x.shape
    out = x.new_empty((frames * interleave, 2 * height, 2 * width, channels // interleave))
    block_pixels = _pixels_per_program(channels // interleave)
    _enlarge[triton.cdiv(height * width, block_pixels), frames * interleave](
        x,
        x if bias is None else bias,
        x if residual is None else residual,
        out,
        height * width,
        width,
        channels // interleave,
        has_bias=bias is not None,
        has_residual=residual is not None,
        interleave=interleave,
        block_pixels=block_pixels,
        block_channels=triton.next_power_of_2(channels // interleave),
    )
    return out


@triton.jit  # type: ignore[untyped-decorator]  # Triton is untyped
def _enlarge(  # type: ignore[no-untyped-def]  # a kernel's arguments are pointers and numbers
    x,
    bias,
    residual,
    out,
    pixels,
    width,
    channels,
    has_bias: tl.constexpr,
    has_residual: tl.constexpr,
    interleave: tl.constexpr,
    block_pixels: tl.constexpr,
    block_channels: tl.constexpr,
):
    pixel = (tl.program_id(0) * block_pixels + tl.arange(0, block_pixels)).to(tl.int64)[:, None]
    frame = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, block_channels)[None, :]
    inside = (pixel < pixels) & (channel < channels)
    group = (frame % interleave) * channels
    at = ((frame // interleave) * pixels + pixel) * (interleave * channels) + group + channel
    value = tl.load(x + at, inside, 0.0)
    dtype = value.dtype
    if has_bias:
        value = value.to(tl.float32) + tl.load(bias + group + channel, channel < channels, 0.0).to(tl.float32)
    if has_residual:
        value = value.to(tl.float32) + tl.load(residual + at, inside, 0.0).to(tl.float32)
    value = value.to(dtype)
    row, column = pixel // width, pixel % width
    corner = (frame * 4 * pixels + row * 4 * width + column * 2) * channels + channel
    tl.store(out + corner, value, inside)
    tl.store(out + corner + channels, value, inside)
    tl.store(out + corner + 2 * width * channels, value, inside)
    tl.store(out + corner + (2 * width + 1) * channels, value, inside)


def add_shifted(x: Tensor, bias: Tensor) -> Tensor:
    """Add the results of a 3x3 kernel's taps, each shifted to its pixel: [T, H, W, 9 * C or more] to [C, T, H, W].

    x     [..., 3 * 3 * C]: what each pixel contributes to its neighbours, by row, column and channel of the kernel.
    bias  [C].
    """
    frames, height, width, stride = x.shape
    channels = len(bias)
    out = x.new_empty((channels, frames, height, width))
    pixels = height * width
    _add_shifted[triton.cdiv(pixels, SHIFTED_PIXELS), frames](
        x,
        bias,
        out,
        frames,
        height,
        width,
        stride,
        channels,
        block_pixels=SHIFTED_PIXELS,
        block_channels=triton.next_power_of_2(channels),
    )
    return out


@triton.jit  # type: ignore[untyped-decorator]  # Triton is untyped
def _add_shifted(  # type: ignore[no-untyped-def]  # a kernel's arguments are pointers and numbers
    x,
    bias,
    out,
    frames,
    height,
    width,
    stride,
    channels,
    block_pixels: tl.constexpr,
    block_channels: tl.constexpr,
):
    pixel = tl.program_id(0) * block_pixels + tl.arange(0, block_pixels)[:, None]
    frame = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, block_channels)[None, :]
    pixels = height * width
    inside = (pixel < pixels) & (channel < channels)
    row, column = pixel // width, pixel % width
    total = tl.load(bias + channel, channel < channels, 0.0).to(tl.float32)
    for tap in tl.static_range(9):
        there_row, there_column = row + tap // 3 - 1, column + tap % 3 - 1
        exists = (there_row >= 0) & (there_row < height) & (there_column >= 0) & (there_column < width)
        there = frame * pixels + there_row * width + there_column
        total += tl.load(x + there * stride + tap * channels + channel, inside & exists, 0.0).to(tl.float32)
    tl.store(out + (channel * frames + frame) * pixels + pixel, total.to(out.dtype.element_ty), inside)
