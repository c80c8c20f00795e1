"""Adapts Wan's VAE and the tiny auto-encoders to the streaming interface of `vae_stream`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from scope_batch.core import geometry
from scope_batch.engine.vae_stream import FeatureCache
from scope_batch.models.tae import MEMORY_BLOCKS, TinyAutoencoder

if TYPE_CHECKING:
    from scope_batch.engine.fused_vae import FusedDecoder, FusedEncoder


class WanVae:
    """Wan's causal VAE: `wan` and `lightvae`, which differ only in width. Implements `vae_stream.Vae`.

    `encode` and `decode` of diffusers clear their feature caches at every call. So this class calls the encoder and
    decoder modules directly, with the stream's own features: the last two inputs of every causal convolution.
    """

    outputs_raw_latents = True
    lead_frames = 1  # the first latent frame of a stream encodes a single frame

    def __init__(self, module: AutoencoderKLWan, *, kernels: bool = False) -> None:
        """kernels: after the first latent frame of a stream, use the modules in `fused_vae`."""
        self.module = module
        self.dtype: torch.dtype = module.dtype
        self.device: torch.device = module.device
        if self.device.type == "cpu" and self.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            use_onednn(module)
        self._fused: tuple[FusedEncoder, FusedDecoder] | None = None
        if kernels:
            # Imported here because Triton exists only where a GPU may be.
            from scope_batch.engine.fused_vae import FusedDecoder, FusedEncoder, Workspace

            workspace = Workspace()
            self._fused = FusedEncoder(module, workspace), FusedDecoder(module, workspace)

    def latents_of(self, frames: int, *, first: bool) -> int:
        """See `Vae.latents_of`."""
        return geometry.latents_of_frames(frames, first=first)

    def groups(self, pixels: Tensor, *, first: bool) -> list[Tensor]:
        """Split into groups of 1 frame (at the start of a stream), 4, 4 ... frames."""
        latents = self.latents_of(pixels.shape[2], first=first)
        sizes = [1 if first and not i else geometry.TIME_STRIDE for i in range(latents)]
        return list(pixels.split(sizes, dim=2))

    def new_encoder_cache(self) -> FeatureCache:
        return [None] * self.module._cached_conv_counts["encoder"]

    def encode(self, group: Tensor, cache: FeatureCache) -> Tensor:
        if self._fused is not None and group.shape[2] > 1:
            return self._fused[0].encode(group, cache)
        moments: Tensor = self.module.quant_conv(self.module.encoder(group, feat_cache=cache, feat_idx=[0]))
        return moments[:, : geometry.LATENT_CHANNELS]

    def new_decoder_cache(self) -> FeatureCache:
        return [None] * self.module._cached_conv_counts["decoder"]

    def decode(self, latents: Tensor, cache: FeatureCache, *, first: bool) -> Iterator[Tensor]:
        plain = latents if self._fused is None else latents[:, :, : int(first)]
        for latent in plain.split(1, dim=2) if plain.shape[2] else ():
            prepared = self.module.post_quant_conv(latent)
            yield self.module.decoder(prepared, feat_cache=cache, feat_idx=[0], first_chunk=first)[0]
            first = False
        if self._fused is not None and (rest := latents[:, :, plain.shape[2] :]).shape[2]:
            yield from self._fused[1].decode(rest, cache)


class TaeVae:
    """The tiny auto-encoders: `tae` outputs normalised latents, `lighttae` raw ones. Implements `vae_stream.Vae`.

    Every latent frame encodes four frames, also the first of a stream. If the first frames of a stream do not fill
    groups of four, the last frame is repeated. The first latent frame decodes to four frames; the last is used.
    """

    lead_frames = 0  # a stream may start with any group of four

    def __init__(self, module: TinyAutoencoder, *, outputs_raw_latents: bool) -> None:
        self.module, self.outputs_raw_latents = module, outputs_raw_latents
        self.dtype: torch.dtype = module.dtype
        self.device: torch.device = module.device

    def latents_of(self, frames: int, *, first: bool) -> int:
        """See `Vae.latents_of`. Here a stream may also start with 4n frames."""
        return geometry.latents_of_frames(frames, first=first and frames % geometry.TIME_STRIDE != 0)

    def groups(self, pixels: Tensor, *, first: bool) -> list[Tensor]:
        """Split into groups of 4 frames, repeating the last frame of [1, 3, T, H, W] where it is needed."""
        frames = pixels.shape[2]
        missing = geometry.TIME_STRIDE * self.latents_of(frames, first=first) - frames
        filled = torch.cat([pixels, pixels[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2) if missing else pixels
        return list(filled.split(geometry.TIME_STRIDE, dim=2))

    def new_encoder_cache(self) -> FeatureCache:
        return [None] * MEMORY_BLOCKS

    def encode(self, group: Tensor, cache: FeatureCache) -> Tensor:
        latents = self.module.encode(group[0].transpose(0, 1).add(1).div_(2), cache)
        return latents.transpose(0, 1)[None]

    def new_decoder_cache(self) -> FeatureCache:
        return [None] * MEMORY_BLOCKS

    def decode(self, latents: Tensor, cache: FeatureCache, *, first: bool) -> Iterator[Tensor]:
        for latent in latents.split(1, dim=2):
            frames = self.module.decode(latent[0].transpose(0, 1), cache)
            yield frames[-1 if first else 0 :].transpose(0, 1).mul(2).sub_(1)
            first = False


def use_onednn(module: nn.Module) -> None:
    """Compute the 3D convolutions of `module`, float32 on a CPU, by oneDNN.

    torch itself chooses it by batch, channels, frames and height alone, which are small in a stream; the kernel that it
    takes instead copies each input 27 times and needs up to nine times as long. Where all weights of earlier frames are
    zero, as mostly in the tiny models, the current frame alone is convolved.
    """
    for conv in module.modules():
        if isinstance(conv, nn.Conv3d):
            convolve = partial(
                torch.mkldnn_convolution,
                stride=conv.stride,
                padding=cast(tuple[int, ...], conv.padding),
                dilation=conv.dilation,
                groups=conv.groups,
            )
            earlier = conv.kernel_size[0] - 1
            if conv.stride[0] == 1 and earlier and not conv.weight[:, :, :earlier].any():
                convolve = partial(_convolve_current_frames, convolve, earlier)
            vars(conv)["_conv_forward"] = convolve


def _convolve_current_frames(
    convolve: Callable[..., Tensor], earlier: int, frames: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    return convolve(frames[:, :, earlier:], weight[:, :, earlier:], bias)
