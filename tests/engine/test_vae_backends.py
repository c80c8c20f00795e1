"""Checks that a stream of a tiny auto-encoder gives the same as the network over the whole clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scope_batch.engine import loader, vae_backends
from scope_batch.engine.vae_backends import TaeVae, use_onednn
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream, LatentStatistics
from scope_batch.events import silent
from scope_batch.models.folder import find_models
from scope_batch.models.layout import VaeType
from scope_batch.models.tae import MEMORY_BLOCKS, TaeConfig, TinyAutoencoder

KINDS: tuple[VaeType, ...] = ("tae", "lighttae")


def random_module() -> TinyAutoencoder:
    torch.manual_seed(0)
    made = TinyAutoencoder(TaeConfig(4, (6, 5, 4, 4))).eval().requires_grad_(False)
    for weight in made.parameters():
        if weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight)  # torch's own start is so faint that nothing would tell
    return made


@pytest.fixture(scope="module")
def module() -> TinyAutoencoder:
    return random_module()


@pytest.fixture(scope="module", params=KINDS)
def vae(module: TinyAutoencoder, request: pytest.FixtureRequest) -> TaeVae:
    return TaeVae(module, outputs_raw_latents=request.param == "lighttae")


def clip(frames: int) -> Tensor:
    return torch.rand(1, 3, frames, 16, 24, generator=torch.Generator().manual_seed(frames)) * 2 - 1


def encode(vae: TaeVae, pixels: Tensor, lengths: list[int]) -> Tensor:
    stream = EncoderStream(vae)
    return torch.cat([stream.encode(chunk) for chunk in pixels.split(lengths, dim=2)], dim=1)


def whole(vae: TaeVae, pixels: Tensor) -> Tensor:
    """Encode all frames, which fill groups of four, in one pass of the network; returns normalised latents."""
    latents = vae.module.encode(pixels[0].transpose(0, 1) / 2 + 0.5, vae.new_encoder_cache()).transpose(0, 1)[None]
    return (LatentStatistics(vae).normalise(latents) if vae.outputs_raw_latents else latents).transpose(1, 2)


def filled(pixels: Tensor, first: int) -> Tensor:
    """Pad the first `first` frames of a clip with copies of the last of them, so that they fill groups of four."""
    return torch.cat([pixels[:, :, :first], *[pixels[:, :, first - 1 : first]] * (-first % 4), pixels[:, :, first:]], 2)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (4, 1), (5, 2), (9, 3), (12, 3), (13, 4)])
def test_the_last_frame_of_a_first_chunk_fills_its_group(vae: TaeVae, frames: int, latents: int) -> None:
    got = encode(vae, clip(frames), [frames])
    assert got.shape == (1, latents, 16, 2, 3)
    assert torch.allclose(got, whole(vae, filled(clip(frames), frames)), atol=1e-5)


@pytest.mark.parametrize("lengths", [[9, 12, 12], [13, 12], [5, 4, 4, 4], [12, 4, 8]])
def test_encoding_in_chunks_equals_the_whole_clip(vae: TaeVae, lengths: list[int]) -> None:
    pixels = clip(sum(lengths))
    assert torch.allclose(encode(vae, pixels, lengths), whole(vae, filled(pixels, lengths[0])), atol=1e-5)


@pytest.mark.parametrize("lengths", [[3, 3, 1], [4, 3], [1] * 7])
def test_decoding_in_chunks_equals_the_whole_clip_without_its_first_three_frames(
    vae: TaeVae, lengths: list[int]
) -> None:
    latents = torch.randn(1, 7, 16, 2, 3, generator=torch.Generator().manual_seed(7))
    spoken = (
        LatentStatistics(vae).denormalise(latents.transpose(1, 2))
        if vae.outputs_raw_latents
        else latents.transpose(1, 2)
    )
    pixels = vae.module.decode(spoken[0].transpose(0, 1), vae.new_decoder_cache())[3:]
    stream = DecoderStream(vae)
    parts = [stream.decode(part) for part in latents.split(lengths, dim=1)]
    assert [len(frames) for frames, _ in parts] == [4 * n - 3 * (not i) for i, n in enumerate(lengths)]
    frames = torch.cat([frames for frames, _ in parts])
    assert (
        frames.permute(0, 3, 1, 2) - pixels.clamp(0, 1) * 255
    ).abs().max() <= 0.51  # rounding, and the last bits in which the kernels of a CPU differ
    assert all(bool(finite) for _, finite in parts)


def test_a_chunk_that_is_not_the_first_fills_its_groups(vae: TaeVae) -> None:
    with pytest.raises(ValueError, match="9 frames do not fill"):
        encode(vae, clip(21), [12, 9])
    with pytest.raises(ValueError, match="11 frames do not fill"):
        encode(vae, clip(11), [11])


def test_raw_latents_are_the_normalised_ones_with_mean_and_deviation(vae: TaeVae) -> None:
    raw = EncoderStream(vae, normalised=False).encode(clip(9)).transpose(1, 2)
    assert torch.allclose(LatentStatistics(vae).normalise(raw).transpose(1, 2), encode(vae, clip(9), [9]), atol=1e-5)


@pytest.mark.parametrize("vae_type", KINDS)
def test_only_lighttae_is_loaded_as_one_that_outputs_raw_latents(vae_type: VaeType) -> None:
    files = replace(find_models("longlive", "tiny", vae_type="tae"), vae_type=vae_type)  # tiny has one file for both
    vae = loader._vae(files, torch.float32, torch.device("cpu"), silent, kernels=False)
    assert vae.outputs_raw_latents == (vae_type == "lighttae")


def test_a_block_sees_the_frame_before_and_none_after(module: TinyAutoencoder) -> None:
    frames = torch.rand(12, 3, 16, 16)
    changed = frames.clone()
    changed[7] += 0.5
    before, after = (module.encode(given, [None] * MEMORY_BLOCKS) for given in (frames, changed))
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1]) and not torch.allclose(before[2], after[2])


def test_a_memory_is_never_written_to(vae: TaeVae) -> None:
    stream = EncoderStream(vae)
    stream.encode(clip(9))
    held = [(tensor, tensor.clone()) for tensor in stream.features]
    stream.encode(clip(12))
    assert all(torch.equal(tensor, copy) for tensor, copy in held)


def test_a_reset_starts_a_new_stream(vae: TaeVae) -> None:
    stream = EncoderStream(vae)
    first = stream.encode(clip(9))
    stream.encode(clip(12))
    stream.reset()
    assert torch.equal(stream.encode(clip(9)), first)


def test_a_nan_latent_is_flagged(vae: TaeVae) -> None:
    latents = torch.zeros(1, 2, 16, 2, 2)
    latents[0, 1, 3, 0, 0] = float("nan")
    assert not bool(DecoderStream(vae).decode(latents)[1])


def test_time_taps_that_are_all_zero_are_left_out_and_change_nothing() -> None:
    conv = torch.nn.Conv3d(16, 16, 3, padding=(0, 1, 1)).requires_grad_(False)
    conv.weight[:, :, :2] = 0
    frames = torch.randn(1, 16, 6, 8, 8)
    wanted = conv(frames)
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vae_backends, "_convolve_current_frames", _counting(seen))
        use_onednn(torch.nn.Sequential(conv))
        torch.testing.assert_close(conv(frames), wanted, atol=1e-5, rtol=1e-4)
    assert seen == [2]


def _counting(seen: list[int]) -> Callable[..., Tensor]:
    whole = vae_backends._convolve_current_frames

    def convolve(made: Callable[..., Tensor], earlier: int, *rest: Tensor) -> Tensor:
        seen.append(earlier)
        return whole(made, earlier, *rest)

    return convolve
