"""Which three latent frames a chunk continues."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from scope_batch.engine.krea_context import RECENT, ContextFrames
from scope_batch.engine.vae_stream import EncoderStream, LatentStatistics
from scope_batch.engine.wan_vae import WanVae


@pytest.fixture(scope="module")
def vae() -> WanVae:
    torch.manual_seed(0)
    return WanVae(AutoencoderKLWan(base_dim=4).eval().requires_grad_(False))


@pytest.fixture
def context(vae: WanVae) -> ContextFrames:
    return ContextFrames(EncoderStream(vae))


def chunk(frames: int = 3) -> tuple[Tensor, Tensor]:
    """Latents, and the last pixel frames that are in sight after them."""
    return torch.randn(1, frames, 16, 2, 2), torch.rand(1, 3, RECENT, 16, 16) * 2 - 1


def held(context: ContextFrames) -> Tensor:
    latents = context.latents()
    assert latents is not None
    return latents


def test_a_sequence_starts_without(context: ContextFrames) -> None:
    assert context.latents() is None
    context.put(*chunk())
    context.reset()
    assert context.latents() is None


@pytest.mark.parametrize("frames", [3, 4])
def test_the_second_chunk_continues_the_first_latent_and_the_last_two(context: ContextFrames, frames: int) -> None:
    latents, recent = chunk(frames)
    context.put(latents, recent)
    assert torch.equal(held(context), latents[:, [0, -2, -1]])


def test_later_ones_continue_the_oldest_picture_in_sight_encoded_by_itself(context: ContextFrames, vae: WanVae) -> None:
    context.put(*chunk())
    for _ in range(3):
        latents, recent = chunk()
        context.put(latents, recent)
        alone = vae.module.encode(recent[:, :, :1]).latent_dist.mean
        want = LatentStatistics(vae).normalise(alone).transpose(1, 2)
        assert torch.allclose(held(context)[:, :1], want, atol=1e-6)
        assert torch.equal(held(context)[:, 1:], latents[:, -2:])
        assert torch.equal(held(context), held(context))


def test_after_a_reset_it_is_as_new(context: ContextFrames) -> None:
    for _ in range(3):
        context.put(*chunk())
    context.reset()
    latents, recent = chunk()
    context.put(latents, recent)
    assert torch.equal(held(context), latents[:, [0, -2, -1]])


def test_it_keeps_its_own_copies(context: ContextFrames) -> None:
    latents, recent = chunk()
    context.put(latents, recent)
    before = held(context).clone()
    latents.zero_()
    assert torch.equal(held(context), before)
