"""Checks VACE's control streams with a tiny auto-encoder, which groups frames 0-3, 4-7 ... of every stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from scope_batch.engine.vace import ControlStream, GrayLatents, VaceContext, mask_channels
from scope_batch.engine.vae_backends import TaeVae
from scope_batch.engine.vae_stream import EncoderStream
from scope_batch.models.tae import MEMORY_BLOCKS
from tests.engine.test_vace import HEIGHT, WIDTH, Clip, bounds, chunk_of, stream
from tests.engine.test_vae_backends import random_module


@pytest.fixture(scope="module")
def vae() -> TaeVae:
    return TaeVae(random_module(), outputs_raw_latents=True)


def whole(vae: TaeVae, clip: Clip, first: int = 0) -> Tensor:
    """Encode all frames from `first` on; returns the context's latents [1, 32, F, h, w]. Chunk 0 fills its groups."""
    rows = np.arange(first, len(clip.frames))
    if first == 0:
        rows = np.concatenate([rows[:9], [8, 8, 8], rows[9:]])
    replaced = (clip.masks[rows] > 0.5)[..., None]
    parts = []
    for frames in (np.where(replaced, 0, clip.frames[rows]), np.where(replaced, clip.frames[rows], 0)):
        pixels = torch.from_numpy(frames.astype(np.float32)).permute(3, 0, 1, 2)[None]
        parts.append(EncoderStream(vae).encode(pixels).transpose(1, 2))
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("masks", ["111", "mmm", "1m1m", "m01s"])
def test_chunk_by_chunk_equals_the_whole_clip(vae: TaeVae, masks: str) -> None:
    clip = Clip(masks)
    got = stream(vae, clip, [chunk_of(i) for i in range(len(masks))])
    assert got.shape == (1, 96, 3 * len(masks), HEIGHT // 8, WIDTH // 8)
    assert torch.allclose(got[:, :32], whole(vae, clip), atol=1e-5)


@pytest.mark.parametrize("masks", ["11mm", "111m", "1111"])
def test_a_stream_that_starts_late_starts_with_its_chunk(vae: TaeVae, masks: str) -> None:
    clip = Clip(masks)
    late = [chunk_of(2, restart_streams=True), chunk_of(3)]
    assert late[0].lead == 1
    got = stream(vae, clip, late)
    assert torch.allclose(got[:, :32], whole(vae, clip, first=bounds(2)[0]), atol=1e-5)
    assert torch.equal(got[:, 32:, :3], mask_channels(torch.from_numpy(clip.masks[slice(*bounds(2))]), 3))


def test_a_stream_restarts_after_a_pause(vae: TaeVae) -> None:
    clip = Clip("mmm")
    got = stream(vae, clip, [chunk_of(0), chunk_of(2, restart_streams=True)])
    assert torch.allclose(got[:, :32, 3:], whole(vae, clip, first=bounds(2)[0]), atol=1e-5)


def test_gray_settles_within_the_depth_of_the_network(vae: TaeVae, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = EncoderStream.encode

    def counting(self: EncoderStream, pixels: Tensor) -> Tensor:
        seen.append(pixels.shape[2])
        return encode(self, pixels)

    monkeypatch.setattr(EncoderStream, "encode", counting)
    fed = ControlStream(vae, GrayLatents(vae, HEIGHT, WIDTH))
    for i in range(20):
        fed.encode(None, 12 if i else 9)
    assert seen[:2] == [1, 4] and len(seen) <= MEMORY_BLOCKS + 2


def test_a_reference_alone_is_one_latent_frame(vae: TaeVae) -> None:
    picture = np.random.default_rng(0).uniform(-1, 1, (HEIGHT, WIDTH, 3)).astype(np.float32)
    got = VaceContext(vae, HEIGHT, WIDTH)._encode_reference(picture)
    four = torch.from_numpy(picture).permute(2, 0, 1)[None, :, None].expand(-1, -1, 4, -1, -1)
    # No equality: the same pixels in another memory layout may run through another convolution kernel.
    assert torch.allclose(got[:, :16], EncoderStream(vae).encode(four).transpose(1, 2), atol=1e-5)
    assert not got[:, 16:].any()
