"""Lists the tensors of a Wan VAE file of any width, in original naming. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator

_LATENT = 16
Shape = tuple[int, ...]


def vae_shapes(base_dim: int) -> Iterator[tuple[str, Shape]]:
    """Yield key and shape of every tensor of a Wan VAE file of this width (96: published, 24: lightvae)."""
    yield from _encoder(base_dim)
    yield from _conv("conv1", 2 * _LATENT, 2 * _LATENT, 1, 1, 1)
    yield from _conv("conv2", _LATENT, _LATENT, 1, 1, 1)
    yield from _decoder(base_dim)


def _encoder(base: int) -> Iterator[tuple[str, Shape]]:
    yield from _conv("encoder.conv1", base, 3, 3, 3, 3)
    wide, index = base, 0
    for stage, out in enumerate((base, 2 * base, 4 * base, 4 * base)):
        for _ in range(2):
            yield from _residual(f"encoder.downsamples.{index}", out, wide)
            wide, index = out, index + 1
        if stage < 3:
            yield from _conv(f"encoder.downsamples.{index}.resample.1", out, out, 3, 3)
            if stage > 0:
                yield from _conv(f"encoder.downsamples.{index}.time_conv", out, out, 3, 1, 1)
            index += 1
    yield from _middle("encoder.middle", wide)
    yield "encoder.head.0.gamma", (wide, 1, 1, 1)
    yield from _conv("encoder.head.2", 2 * _LATENT, wide, 3, 3, 3)


def _decoder(base: int) -> Iterator[tuple[str, Shape]]:
    wide, index = 4 * base, 0
    yield from _conv("decoder.conv1", wide, _LATENT, 3, 3, 3)
    yield from _middle("decoder.middle", wide)
    for stage, out in enumerate((4 * base, 4 * base, 2 * base, base)):
        for _ in range(3):
            yield from _residual(f"decoder.upsamples.{index}", out, wide)
            wide, index = out, index + 1
        if stage < 3:
            yield from _conv(f"decoder.upsamples.{index}.resample.1", out // 2, out, 3, 3)
            if stage < 2:
                yield from _conv(f"decoder.upsamples.{index}.time_conv", 2 * out, out, 3, 1, 1)
            wide, index = out // 2, index + 1
    yield "decoder.head.0.gamma", (wide, 1, 1, 1)
    yield from _conv("decoder.head.2", 3, wide, 3, 3, 3)


def _middle(name: str, wide: int) -> Iterator[tuple[str, Shape]]:
    yield from _residual(f"{name}.0", wide, wide)
    yield f"{name}.1.norm.gamma", (wide, 1, 1)
    yield from _conv(f"{name}.1.to_qkv", 3 * wide, wide, 1, 1)
    yield from _conv(f"{name}.1.proj", wide, wide, 1, 1)
    yield from _residual(f"{name}.2", wide, wide)


def _residual(name: str, out: int, inp: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.residual.0.gamma", (inp, 1, 1, 1)
    yield from _conv(f"{name}.residual.2", out, inp, 3, 3, 3)
    yield f"{name}.residual.3.gamma", (out, 1, 1, 1)
    yield from _conv(f"{name}.residual.6", out, out, 3, 3, 3)
    if out != inp:
        yield from _conv(f"{name}.shortcut", out, inp, 1, 1, 1)


def _conv(name: str, out: int, inp: int, *kernel: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (out, inp, *kernel)
    yield f"{name}.bias", (out,)
