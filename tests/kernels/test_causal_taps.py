"""The kernels around causal convolutions against plain torch, for sizes that do not fill a block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton exists for Linux")

from scope_batch.kernels.causal_taps import add_shifted, enlarge, write_taps

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("channels", [3, 12])
def test_every_frame_is_written_beside_the_two_before_it(frames: int, channels: int) -> None:
    x, history = random(frames, 3, 5, channels), random(2, 3, 5, channels)
    taps = torch.empty(frames, 3, 5, 3 * channels)
    kept = write_taps(x, None, None, history=history, taps=taps)
    joined = torch.cat([history, x])
    assert torch.equal(taps, torch.cat([joined[i : i + frames] for i in range(3)], dim=-1))
    assert torch.equal(kept, joined[-2:])


def test_bias_and_residual_are_added_before_norm_and_activation() -> None:
    x, residual, history = random(2, 3, 3, 6), random(2, 3, 3, 6) * 2, random(2, 3, 3, 6)
    bias, gamma = random(6), random(6) + 1
    taps, total = torch.empty(2, 3, 3, 18), torch.empty_like(x)
    write_taps(x, bias, residual, history=history, taps=taps, gamma=gamma, total=total)
    expected = x + bias + residual
    torch.testing.assert_close(total, expected, **CLOSE)
    activated = F.silu(F.normalize(expected, dim=-1) * 6**0.5 * gamma)
    torch.testing.assert_close(taps[..., 12:], activated, **CLOSE)


def test_a_pixel_of_zeros_stays_zero_under_the_norm() -> None:
    x, history, taps = torch.zeros(1, 2, 2, 4), torch.zeros(2, 2, 2, 4), torch.ones(1, 2, 2, 12)
    write_taps(x, None, None, history=history, taps=taps, gamma=torch.ones(4))
    assert not taps.any()


def test_a_convolution_over_taps_is_the_causal_convolution() -> None:
    x, history, weight = random(3, 4, 5, 2), random(2, 4, 5, 2), random(6, 2, 3, 3, 3)
    taps = torch.empty(3, 4, 5, 6)
    write_taps(x, None, None, history=history, taps=taps)
    folded = weight.permute(0, 2, 1, 3, 4).flatten(1, 2)
    made = F.conv2d(taps.permute(0, 3, 1, 2), folded, padding=1)
    whole = torch.cat([history, x]).permute(3, 0, 1, 2)[None]
    torch.testing.assert_close(made, F.conv3d(whole, weight, padding=(0, 1, 1))[0].transpose(0, 1), **CLOSE)


def test_pixels_are_repeated_to_double_the_size() -> None:
    x, bias, residual = random(2, 3, 5, 6), random(6), random(2, 3, 5, 6) * 2
    made = enlarge(x, bias, residual)
    expected = (x + bias + residual).repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(made, expected, **CLOSE)


def test_groups_of_channels_become_frames() -> None:
    x = random(2, 2, 3, 8)
    made = enlarge(x, None, None, interleave=2)[:, ::2, ::2]
    assert torch.equal(made[0::2], x[..., :4]) and torch.equal(made[1::2], x[..., 4:])


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (12, 13)])
def test_shifted_results_of_a_linear_layer_add_up_to_the_convolution(size: tuple[int, int]) -> None:
    x, weight, bias = random(2, *size, 4), random(3, 4, 3, 3), random(3)
    rows = F.pad(weight.permute(2, 3, 0, 1).flatten(0, 2), (0, 0, 0, 5))
    made = add_shifted(F.linear(x, rows), bias)
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1).transpose(0, 1)
    torch.testing.assert_close(made, expected, **CLOSE)
