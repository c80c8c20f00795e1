"""Checks that contexts built chunk by chunk equal the context of the whole clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.core.conditioning import Blend, Prompt
from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk, Still, Vace
from scope_batch.engine.vace import VaceContext, mask_channels
from scope_batch.engine.vae_backends import WanVae
from scope_batch.engine.vae_stream import EncoderStream, LatentStatistics, Vae

HEIGHT, WIDTH = 16, 32
Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def vae() -> Vae:
    torch.manual_seed(0)
    return WanVae(AutoencoderKLWan(base_dim=4).eval().requires_grad_(False))


class Clip:
    """Frames and masks of a timeline, divided into chunks of 9, 12, 12 ... frames."""

    def __init__(self, masks: str) -> None:
        """Build masks from one letter per chunk: 1 all ones, 0 all zeros, m mixed and moving, s soft."""
        rng = np.random.default_rng(len(masks))
        count = 12 * len(masks) - 3
        self.frames: Array = rng.uniform(-1, 1, (count, HEIGHT, WIDTH, 3)).astype(np.float32)
        self.masks: Array = np.ones((count, HEIGHT, WIDTH), np.float32)
        for i, kind in enumerate(masks):
            here = self.masks[slice(*bounds(i))]
            if kind == "m":
                here[:] = rng.random(here.shape) < 0.5
            elif kind == "s":
                here[:] = rng.random(here.shape)
            elif kind == "0":
                here[:] = 0

    def inputs(self, chunk: Chunk) -> ChunkInputs:
        window = slice(chunk.first_frame - chunk.lead, chunk.first_frame + chunk.frames)
        frames, masks = self.frames[window], self.masks[window]
        inactive, reactive = frames[masks <= 0.5], frames[masks > 0.5]
        return ChunkInputs(control=ControlFrames(frames, masks, not inactive.any(), not reactive.any()))

    def whole(self, vae: Vae, first: int = 0) -> Tensor:
        """Encode all frames from `first` on at once; returns the context's latents [1, 32, F, h, w]."""
        replaced = (self.masks[first:] > 0.5)[..., None]
        parts = []
        for frames in (np.where(replaced, 0, self.frames[first:]), np.where(replaced, self.frames[first:], 0)):
            pixels = torch.from_numpy(frames.astype(np.float32)).permute(3, 0, 1, 2)[None]
            parts.append(EncoderStream(vae).encode(pixels).transpose(1, 2))
        return torch.cat(parts, dim=1)


def bounds(index: int) -> tuple[int, int]:
    return max(12 * index - 3, 0), 12 * index + 9


def chunk_of(
    index: int, *, restart_streams: bool | None = None, cut: bool | None = None, vace: Vace | None = None
) -> Chunk:
    """Plan a text chunk; by default the sequence and the streams begin with chunk 0."""
    cut = index == 0 if cut is None else cut
    restart_streams = cut if restart_streams is None else restart_streams
    first, end = (bounds(index)[0], bounds(index)[0] + 9) if cut else bounds(index)
    return Chunk(
        index=index,
        first_frame=first,
        frames=end - first,
        keep=end - first,
        latents=3,
        start_latent=0 if cut else 3 * index,
        mode="text",
        cut_reason="reset" if cut else None,
        recache_reason=None,
        conditioning=Blend((Prompt("a cat"),)),
        text_changed=cut,
        seed=0,
        denoising_steps=(1000,),
        noise_scale=None,
        noise_controller=False,
        vace=vace or Vace(scale=1.0, timeline=True, restart_streams=restart_streams),
    )


def contexts(vae: Vae) -> VaceContext:
    return VaceContext(vae, HEIGHT, WIDTH)


def stream(vae: Vae, clip: Clip, chunks: list[Chunk]) -> Tensor:
    build = contexts(vae).build
    return torch.cat([build(chunk, clip.inputs(chunk)) for chunk in chunks], dim=2)


@pytest.mark.parametrize("masks", ["111", "000", "mmm", "1m1m", "m01s"])
def test_chunk_by_chunk_equals_the_whole_clip(vae: Vae, masks: str) -> None:
    clip = Clip(masks)
    got = stream(vae, clip, [chunk_of(i) for i in range(len(masks))])
    assert got.shape == (1, 96, 3 * len(masks), HEIGHT // 8, WIDTH // 8) and got.dtype == torch.float32
    assert torch.allclose(got[:, :32], clip.whole(vae), atol=1e-5)


def test_gray_frames_in_the_middle_of_a_picture(vae: Vae) -> None:
    clip = Clip("1m11")
    clip.frames[21:33] = 0
    got = stream(vae, clip, [chunk_of(i) for i in range(4)])
    assert torch.allclose(got[:, :32], clip.whole(vae), atol=1e-5)


def test_the_two_streams_do_not_meet(vae: Vae) -> None:
    one, other = Clip("mmm"), Clip("mmm")
    other.frames = np.where((other.masks > 0.5)[..., None], -other.frames, other.frames)
    chunks = [chunk_of(i) for i in range(3)]
    a, b = stream(vae, one, chunks), stream(vae, other, chunks)
    assert torch.equal(a[:, :16], b[:, :16])  # the same pixels through the same operations
    assert not torch.allclose(a[:, 16:32], b[:, 16:32])


def test_a_stream_that_starts_late_sees_the_frame_before_and_then_the_clip(vae: Vae) -> None:
    clip = Clip("11mm")
    late = [chunk_of(2, restart_streams=True), chunk_of(3)]
    assert late[0].lead == 1
    got = stream(vae, clip, late)
    assert torch.allclose(got[:, :32], clip.whole(vae, first=bounds(2)[0] - 1)[:, :, 1:], atol=1e-5)
    assert torch.equal(got[:, 32:, :3], mask_channels(torch.from_numpy(clip.masks[slice(*bounds(2))]), 3))


def test_a_stream_restarts_after_a_pause(vae: Vae) -> None:
    clip = Clip("mmm")
    got = stream(vae, clip, [chunk_of(0), chunk_of(2, restart_streams=True)])
    assert torch.allclose(got[:, :32, 3:], clip.whole(vae, first=bounds(2)[0] - 1)[:, :, 1:], atol=1e-5)


def test_a_stream_restarts_at_a_cut(vae: Vae) -> None:
    clip = Clip("m1m")
    got = stream(vae, clip, [chunk_of(0), chunk_of(1), chunk_of(2, cut=True)])
    first = bounds(2)[0]
    clip.frames, clip.masks = clip.frames[: first + 9], clip.masks[: first + 9]
    assert torch.allclose(got[:, :32, 6:], clip.whole(vae, first=first), atol=1e-5)


def test_the_split_is_hard_and_the_mask_stays_soft(vae: Vae) -> None:
    clip = Clip("1")
    clip.masks[:] = 0.5
    got = stream(vae, clip, [chunk_of(0)])
    nothing = Clip("1")
    nothing.frames[:] = 0
    gray = nothing.whole(vae)[:, 16:]
    assert torch.allclose(got[:, 16:32], gray, atol=1e-6) and not torch.allclose(got[:, :16], gray, atol=1e-3)
    assert torch.equal(got[:, 32:], torch.full_like(got[:, 32:], 0.5))


@pytest.mark.parametrize(
    ("frames", "latents", "picked"),
    [(12, 3, [2, 6, 10]), (13, 4, [1, 4, 8, 11]), (9, 3, [1, 4, 7]), (5, 2, [1, 3]), (4, 1, [2])],
)
def test_of_the_masks_that_share_a_latent_the_middle_one_counts(frames: int, latents: int, picked: list[int]) -> None:
    masks = torch.arange(frames).float()[:, None, None].expand(-1, HEIGHT, WIDTH)
    assert mask_channels(masks, latents)[0, 0, :, 0, 0].tolist() == picked


@pytest.mark.parametrize("masks", ["11", "1m"])
def test_a_transformer_that_takes_latents_raw_gets_raw_ones(vae: Vae, masks: str) -> None:
    """This holds for gray frames too, which no stream encodes."""
    clip, statistics = Clip(masks), LatentStatistics(vae)
    built, raw = (VaceContext(vae, HEIGHT, WIDTH, normalised=normalised) for normalised in (True, False))
    for index in range(len(masks)):
        chunk = chunk_of(index)
        want, got = (context.build(chunk, clip.inputs(chunk)) for context in (built, raw))
        for part in (slice(0, 16), slice(16, 32)):
            assert torch.allclose(statistics.normalise(got[:, part]), want[:, part], atol=1e-5)
        assert torch.equal(got[:, 32:], want[:, 32:])


def test_mask_channels_are_the_pixels_of_a_cell() -> None:
    masks = torch.zeros(9, HEIGHT, WIDTH)
    masks[4, 8 + 3, 16 + 5] = 1
    channels = mask_channels(masks, 3)
    assert channels.nonzero().tolist() == [[0, 8 * 3 + 5, 1, 1, 2]]


def picture(seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (HEIGHT, WIDTH, 3)).astype(np.float32)


def encoded(vae: Vae, image: Array) -> Tensor:
    """Encode one picture alone. Its memory layout differs from a context's, so convolutions may round differently."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None, :, None]
    return EncoderStream(vae).encode(pixels).transpose(1, 2)


def test_a_reference_alone_is_one_latent_frame(vae: Vae) -> None:
    chunk = chunk_of(0, vace=Vace(scale=1.0, reference=Path("ref.png")))
    got = contexts(vae).build(chunk, ChunkInputs(reference=picture()))
    assert got.shape == (1, 96, 1, HEIGHT // 8, WIDTH // 8)
    assert torch.allclose(got[:, :16], encoded(vae, picture()), atol=1e-5) and not got[:, 16:].any()


def test_a_reference_comes_first_and_does_not_change_the_streams(vae: Vae) -> None:
    clip, build = Clip("mm"), contexts(vae).build
    parts = []
    for i in range(2):
        chunk = chunk_of(i, vace=Vace(scale=1.0, timeline=True, reference=Path("ref.png"), restart_streams=i == 0))
        control = clip.inputs(chunk).control
        parts.append(build(chunk, ChunkInputs(control=control, reference=picture(i))))
    assert [part.shape[2] for part in parts] == [4, 4]
    assert all(torch.allclose(part[:, :16, :1], encoded(vae, picture(i)), atol=1e-5) for i, part in enumerate(parts))
    assert torch.allclose(torch.cat([part[:, :32, 1:] for part in parts], dim=2), clip.whole(vae), atol=1e-5)


def test_arrays_may_be_read_only_views(vae: Vae) -> None:
    clip = Clip("m")
    want = stream(vae, clip, [chunk_of(0)])
    turned = Clip("m")
    turned.frames = clip.frames[:, ::-1].copy()[:, ::-1]
    turned.frames.setflags(write=False)
    turned.masks.setflags(write=False)
    assert torch.equal(stream(vae, turned, [chunk_of(0)]), want)


def test_missing_control_frames_are_refused(vae: Vae) -> None:
    chunk = chunk_of(0, vace=Vace(scale=1.0, stills=(Still(Path("first.png"), 0, 4),)))
    with pytest.raises(AssertionError, match="control frames are missing"):
        contexts(vae).build(chunk, ChunkInputs())


def test_frames_of_another_count_are_refused(vae: Vae) -> None:
    clip = Clip("11")
    with pytest.raises(AssertionError, match="13 control frames needed"):
        contexts(vae).build(chunk_of(1, restart_streams=True), clip.inputs(chunk_of(1)))
