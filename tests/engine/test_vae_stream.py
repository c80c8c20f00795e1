import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn import functional

from scope_batch.engine.vae_backends import WanVae
from scope_batch.engine.vae_stream import (
    LATENT_MEAN,
    LATENT_STD,
    DecoderStream,
    EncoderStream,
    LatentStatistics,
    Vae,
    from_uint8,
    to_uint8,
)


@pytest.fixture(scope="module")
def vae() -> Vae:
    torch.manual_seed(0)
    return WanVae(AutoencoderKLWan(base_dim=4).eval().requires_grad_(False))


def convolutions(vae: WanVae) -> list[nn.Conv3d]:
    return [layer for layer in vae.module.modules() if isinstance(layer, nn.Conv3d)]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_onednn_computes_what_the_kernel_of_torch_does(vae: WanVae) -> None:
    for layer in convolutions(vae):
        assert layer._conv_forward.func is torch.mkldnn_convolution
        given = torch.randn(1, layer.in_channels, 4, 9, 11)
        wanted = functional.conv3d(given, layer.weight, layer.bias, layer.stride, layer.padding)
        assert torch.allclose(layer._conv_forward(given, layer.weight, layer.bias), wanted, atol=1e-5)


def test_a_vae_in_bfloat16_keeps_the_kernels_of_torch() -> None:
    vae = WanVae(AutoencoderKLWan(base_dim=4, num_res_blocks=1).to(torch.bfloat16))
    assert not any("_conv_forward" in vars(layer) for layer in convolutions(vae))


def encode(vae: Vae, pieces: list[Tensor]) -> Tensor:
    stream = EncoderStream(vae)
    return torch.cat([stream.encode(piece) for piece in pieces], dim=1)


def decode(vae: Vae, pieces: list[Tensor]) -> Tensor:
    stream = DecoderStream(vae)
    return torch.cat([stream.decode(piece)[0] for piece in pieces])


def test_the_statistics_are_those_of_wan(vae: Vae) -> None:
    config = vae.module.config
    assert (tuple(config.latents_mean), tuple(config.latents_std)) == (LATENT_MEAN, LATENT_STD)


def test_encoding_in_chunks_equals_the_whole_clip(vae: Vae) -> None:
    video = torch.rand(1, 3, 25, 16, 32) * 2 - 1
    whole = LatentStatistics(vae).normalise(vae.module.encode(video).latent_dist.mean).transpose(1, 2)
    assert torch.allclose(encode(vae, list(video.split([13, 12], dim=2))), whole, atol=1e-5)
    assert torch.allclose(encode(vae, list(video.split([1, 4, 8, 12], dim=2))), whole, atol=1e-5)


def test_decoding_in_chunks_equals_the_whole_clip(vae: Vae) -> None:
    latents = torch.randn(1, 7, 16, 2, 4)
    raw = LatentStatistics(vae).denormalise(latents.transpose(1, 2))
    whole = to_uint8(vae.module.decode(raw).sample[0]).permute(1, 2, 3, 0)
    for lengths in ([3, 3, 1], [4, 3], [1] * 7):
        frames = decode(vae, list(latents.split(lengths, dim=1)))
        assert (frames.int() - whole.int()).abs().max() <= 1 and frames.shape == (25, 16, 32, 3)


def test_two_streams_of_one_vae_are_independent(vae: Vae) -> None:
    a, b = torch.randn(1, 6, 16, 2, 2), torch.randn(1, 6, 16, 2, 2)
    one, other = DecoderStream(vae), DecoderStream(vae)
    mixed = []
    for part_a, part_b in zip(a.split(3, dim=1), b.split(3, dim=1), strict=True):
        mixed.append(one.decode(part_a)[0])
        other.decode(part_b)
    assert torch.equal(torch.cat(mixed), decode(vae, list(a.split(3, dim=1))))


def test_a_reset_starts_a_new_stream(vae: Vae) -> None:
    latents = torch.randn(1, 3, 16, 2, 2)
    stream = DecoderStream(vae)
    first = stream.decode(latents)[0]
    stream.decode(latents)
    stream.reset()
    assert torch.equal(stream.decode(latents)[0], first)


def test_later_frames_do_not_change_earlier_ones(vae: Vae) -> None:
    latents = torch.randn(1, 6, 16, 2, 2)
    changed = latents.clone()
    changed[:, 3:] += 1
    before, after = (decode(vae, [x]) for x in (latents, changed))
    assert torch.equal(before[:9], after[:9]) and not torch.equal(before[9:], after[9:])


def test_frames_that_do_not_fill_latents_are_refused(vae: Vae) -> None:
    with pytest.raises(ValueError, match="12 frames do not fill"):
        encode(vae, [torch.zeros(1, 3, 12, 16, 16)])


def test_a_nan_latent_is_flagged(vae: Vae) -> None:
    latents = torch.zeros(1, 2, 16, 2, 2)
    stream = DecoderStream(vae)
    assert bool(stream.decode(latents)[1])
    latents[0, 1, 3, 0, 0] = float("nan")
    assert not bool(stream.decode(latents)[1])


def test_all_256_levels_survive_the_way_there_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(2, 16, 16, 3)
    assert torch.equal(to_uint8(from_uint8(levels)[0]).permute(1, 2, 3, 0), levels)


def test_the_last_frames_are_kept_unrounded_if_requested(vae: Vae) -> None:
    latents = torch.randn(1, 9, 16, 2, 2) * 3
    stream, blind = DecoderStream(vae, recent_frames=9), DecoderStream(vae)
    frames = torch.cat([stream.decode(part)[0] for part in latents.split(3, dim=1)])
    blind.decode(latents)
    assert blind.recent is None and stream.recent is not None
    assert stream.recent.shape == (1, 3, 9, 16, 16) and stream.recent.abs().max() <= 1
    assert torch.equal(to_uint8(stream.recent[0]).permute(1, 2, 3, 0), frames[-9:])
    assert not torch.equal(stream.recent, from_uint8(frames[-9:]))
    stream.reset()
    assert stream.recent is None


@pytest.mark.parametrize("latents", [1, 2])
def test_a_decoder_is_restored_also_after_a_single_latent_frame(vae: Vae, latents: int) -> None:
    """After one latent frame, upsampling layers hold the string "Rep" instead of features."""
    stream, other = DecoderStream(vae, recent_frames=9), DecoderStream(vae, recent_frames=9)
    stream.decode(torch.randn(1, latents, 16, 2, 2))
    saved = stream.state()
    assert ("Rep" in saved["features"]) == (latents == 1)
    other.decode(torch.randn(1, 3, 16, 2, 2))
    other.restore(saved)
    following = torch.randn(1, 3, 16, 2, 2)
    assert torch.equal(other.decode(following)[0], stream.decode(following)[0])
    assert other.recent is not None and stream.recent is not None and torch.equal(other.recent, stream.recent)


@pytest.mark.parametrize(("level", "expected"), [(99.49, 99), (99.51, 100), (-3.0, 0), (300.0, 255)])
def test_a_value_between_two_levels_goes_to_the_nearest(level: float, expected: int) -> None:
    assert to_uint8(torch.tensor([level / 127.5 - 1])).item() == expected
