from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from scope_batch.engine import vace
from scope_batch.engine.vace import ControlStream, GrayLatents
from scope_batch.engine.vae_backends import WanVae
from scope_batch.engine.vae_stream import EncoderStream, Vae

SIZE = 16


@pytest.fixture(scope="module")
def vae() -> Vae:
    torch.manual_seed(0)
    return WanVae(AutoencoderKLWan(base_dim=4).eval().requires_grad_(False))


def gray(vae: Vae) -> GrayLatents:
    return GrayLatents(vae, SIZE, SIZE)


def stream(vae: Vae, store: GrayLatents | None = None) -> ControlStream:
    return ControlStream(vae, store or gray(vae))


def whole(vae: Vae, pixels: Tensor) -> Tensor:
    return EncoderStream(vae).encode(pixels)


def clip(pattern: str) -> tuple[Tensor, list[Tensor | None]]:
    """Return a clip and its chunks of 9, 12, 12 ... frames: g gray, p a moving picture."""
    chunks: list[Tensor | None] = []
    for i, kind in enumerate(pattern):
        chunks.append(torch.rand(1, 3, frames(i), SIZE, SIZE) * 2 - 1 if kind == "p" else None)
    filled = [torch.zeros(1, 3, frames(i), SIZE, SIZE) if c is None else c for i, c in enumerate(chunks)]
    return torch.cat(filled, dim=2), chunks


def frames(chunk: int) -> int:
    return 12 if chunk else 9


def count_encodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    encode = EncoderStream.encode

    def counting(self: EncoderStream, pixels: Tensor) -> Tensor:
        counted.append(pixels.shape[2])
        return encode(self, pixels)

    monkeypatch.setattr(vace.EncoderStream, "encode", counting)
    return counted


@pytest.mark.parametrize("pattern", ["ppp", "ggg", "gpgp", "pggp", "ggpg", "g" * 13, "g" * 12 + "pg"])
def test_chunk_by_chunk_equals_the_whole_clip(vae: Vae, pattern: str) -> None:
    pixels, chunks = clip(pattern)
    fed = stream(vae)
    latents = torch.cat([fed.encode(chunk, frames(i)) for i, chunk in enumerate(chunks)], dim=1)
    assert torch.allclose(latents, whole(vae, pixels), atol=1e-5)


@pytest.mark.parametrize("ahead", [20, 40])
@pytest.mark.parametrize("pattern", ["ggpg", "gp"])
def test_gray_before_a_picture_is_remembered_in_a_second_stream_too(vae: Vae, pattern: str, ahead: int) -> None:
    """Then the stored gray latents are ahead of the stream, or settled, and the stream must encode the gray itself."""
    store = gray(vae)
    store.at(0, ahead)
    pixels, chunks = clip(pattern)
    fed = stream(vae, store)
    latents = torch.cat([fed.encode(chunk, frames(i)) for i, chunk in enumerate(chunks)], dim=1)
    assert torch.allclose(latents, whole(vae, pixels), atol=1e-5)


def test_gray_settles_and_then_costs_nothing(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    store = gray(vae)
    first = stream(vae, store)
    for i in range(12):
        first.encode(None, frames(i))
    counted = count_encodes(monkeypatch)
    for i in range(12, 40):
        first.encode(None, frames(i))
    again = stream(vae, store)
    for i in range(40):
        again.encode(None, frames(i))
    assert counted == []


def test_after_it_settled_no_gray_is_seen_again(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = stream(vae)
    for i in range(20):
        fed.encode(None, frames(i))
    counted = count_encodes(monkeypatch)
    fed.encode(torch.rand(1, 3, 12, SIZE, SIZE), 12)
    assert counted == [12]


def test_an_encoder_that_never_settles_gives_correct_latents(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GrayLatents, "KEPT", 5)
    pixels, chunks = clip("gggp")
    fed = stream(vae)
    latents = torch.cat([fed.encode(chunk, frames(i)) for i, chunk in enumerate(chunks)], dim=1)
    assert torch.allclose(latents, whole(vae, pixels), atol=1e-5)


def test_two_streams_share_the_gray_but_no_memory(vae: Vae) -> None:
    store = gray(vae)
    one, other = stream(vae, store), stream(vae, store)
    pixels, chunks = clip("gpp")
    got = []
    for i, chunk in enumerate(chunks):
        got.append(one.encode(chunk, frames(i)))
        other.encode(torch.rand(1, 3, frames(i), SIZE, SIZE), frames(i))
    assert torch.allclose(torch.cat(got, dim=1), whole(vae, pixels), atol=1e-5)


def test_a_reset_starts_a_new_stream(vae: Vae) -> None:
    pixels, (chunk,) = clip("p")
    fed = stream(vae)
    fed.encode(None, 9)
    fed.encode(torch.rand(1, 3, 12, SIZE, SIZE), 12)
    fed.reset()
    assert torch.equal(fed.encode(chunk, 9), whole(vae, pixels))


def test_frames_that_do_not_fill_latents_are_refused(vae: Vae) -> None:
    with pytest.raises(ValueError, match="12 frames do not fill"):
        stream(vae).encode(None, 12)
