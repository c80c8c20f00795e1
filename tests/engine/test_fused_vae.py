"""The fused VAE against diffusers' modules, frame by frame and in the features that it leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

pytest.importorskip("triton", reason="Triton exists for Linux")

from scope_batch.engine.vae_backends import WanVae
from scope_batch.engine.vae_stream import FeatureCache
from scope_batch.kernels import causal_taps

LATENTS = torch.randn(1, 16, 4, 2, 2, generator=torch.Generator().manual_seed(1))
CLOSE = {"rtol": 1e-3, "atol": 1e-4}
"""Norms enlarge the differences of pixels whose channels are all small."""


@pytest.fixture(scope="module")
def module() -> AutoencoderKLWan:
    torch.manual_seed(0)
    module = AutoencoderKLWan(base_dim=4, z_dim=16).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if "gamma" in name:
            parameter.uniform_(0.5, 1.5)
    return module


@pytest.fixture(autouse=True)
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes as long for a large block as for a small one."""
    monkeypatch.setattr(causal_taps, "_pixels_per_program", lambda _: 256)


def compare(made: list[Any], expected: list[Any]) -> None:
    for one, other in zip(made, expected, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, **CLOSE)


def decode(module: AutoencoderKLWan, parts: list[Tensor], *, kernels: bool) -> tuple[list[Tensor], FeatureCache]:
    vae = WanVae(module, kernels=kernels)
    cache = vae.new_decoder_cache()
    with torch.inference_mode():
        return [x for i, part in enumerate(parts) for x in vae.decode(part, cache, first=i == 0)], cache


@pytest.mark.parametrize("lengths", [[4], [1, 3], [3, 1], [1, 1, 1, 1]])
def test_frames_and_features_of_the_decoder_are_those_of_the_modules(
    module: AutoencoderKLWan, lengths: list[int]
) -> None:
    parts = list(LATENTS.split(lengths, dim=2))
    (made, features), (expected, plain) = (decode(module, parts, kernels=kernels) for kernels in (True, False))
    assert [frames.shape for frames in made] == [(3, 1, 16, 16), *[(3, 4, 16, 16)] * 3]
    compare(made, expected)
    compare(features, plain)


def test_latents_and_features_of_the_encoder_are_those_of_the_modules(module: AutoencoderKLWan) -> None:
    pixels = torch.randn(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(2))
    results = []
    for kernels in (True, False):
        vae = WanVae(module, kernels=kernels)
        cache = vae.new_encoder_cache()
        groups = vae.groups(pixels, first=True)
        with torch.inference_mode():
            results.append(([vae.encode(group, cache) for group in groups], cache))
    compare(results[0][0], results[1][0])
    compare(results[0][1], results[1][1])


def test_a_stream_continues_on_the_modules_where_the_kernels_left_it(module: AutoencoderKLWan) -> None:
    fused, plain = WanVae(module, kernels=True), WanVae(module)
    cache = fused.new_decoder_cache()
    with torch.inference_mode():
        list(fused.decode(LATENTS[:, :, :3], cache, first=True))
        made = list(plain.decode(LATENTS[:, :, 3:], cache, first=False))
    compare(made, decode(module, [LATENTS], kernels=False)[0][3:])
