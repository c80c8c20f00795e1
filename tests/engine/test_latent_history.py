"""Checks the three latent frames of the context before a chunk."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.engine.latent_history import ContextFrames
from scope_batch.engine.vae_backends import WanVae
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream, LatentStatistics


@pytest.fixture(scope="module")
def vae() -> WanVae:
    torch.manual_seed(0)
    return WanVae(AutoencoderKLWan(base_dim=4).eval().requires_grad_(False))


class Sequence:
    """Decodes chunks one after the other and puts them into a history."""

    def __init__(self, vae: WanVae) -> None:
        self.decoder = DecoderStream(vae, recent_frames=geometry.RECENT_FRAMES)
        self.context = ContextFrames(EncoderStream(vae), self.decoder)
        self.start = 0

    def chunk(self, frames: int = 3) -> Tensor:
        latents = torch.randn(1, frames, 16, 2, 2)
        if self.start == 0:
            self.decoder.reset()
        self.decoder.decode(latents)
        self.context.put(self.start, latents)
        self.start += frames
        return latents


@pytest.mark.parametrize("frames", [3, 4])
def test_the_second_chunk_continues_the_first_latent_and_the_last_two(vae: WanVae, frames: int) -> None:
    sequence = Sequence(vae)
    latents = sequence.chunk(frames)
    assert torch.equal(sequence.context.last(0, 3), latents[:, [0, -2, -1]])


def test_later_ones_continue_the_oldest_picture_in_sight_encoded_by_itself(vae: WanVae) -> None:
    sequence = Sequence(vae)
    sequence.chunk()
    for _ in range(2):
        latents = sequence.chunk()
        recent = sequence.decoder.recent
        assert recent is not None
        alone = vae.module.encode(recent[:, :, :1]).latent_dist.mean
        want = LatentStatistics(vae).normalise(alone).transpose(1, 2)
        context = sequence.context.last(0, 3)
        assert torch.allclose(context[:, :1], want, atol=1e-6)
        assert torch.equal(context[:, 1:], latents[:, -2:])


def test_a_new_sequence_remembers_nothing_of_the_old_one(vae: WanVae) -> None:
    sequence = Sequence(vae)
    for _ in range(3):
        sequence.chunk()
    sequence.start = 0
    latents = sequence.chunk()
    assert torch.equal(sequence.context.last(0, 3), latents[:, [0, -2, -1]])


def test_the_history_keeps_its_own_copies(vae: WanVae) -> None:
    sequence = Sequence(vae)
    latents = sequence.chunk()
    before = sequence.context.last(0, 3).clone()
    latents.zero_()
    assert torch.equal(sequence.context.last(0, 3), before)
