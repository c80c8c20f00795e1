"""Wan's causal VAE as streams take it: diffusers' encoder and decoder driven with feature lists of our own.

`vae.encode` and `vae.decode` of diffusers forget the past at every call, so a stream never uses them. What is
remembered are the two last inputs of every causal convolution; the first frame or latent of a stream finds nothing.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from scope_batch import laws
from scope_batch.engine.vae_stream import Memory


class WanVae:
    """See `scope_batch.engine.vae_stream.Vae`. `wan` and `lightvae` differ by their width alone."""

    speaks_raw = True
    lead_frames = 1  # the first latent frame of a stream is made from one frame alone

    def __init__(self, module: AutoencoderKLWan) -> None:
        self.module = module
        self.dtype: torch.dtype = module.dtype
        self.device: torch.device = module.device

    def latents_of(self, frames: int, *, first: bool) -> int:
        return laws.latents_of_frames(frames, first=first)

    def groups(self, pixels: Tensor, *, first: bool) -> list[Tensor]:
        """1 frame, then 4, 4 ..."""
        latents = self.latents_of(pixels.shape[2], first=first)
        sizes = [1 if first and not i else laws.TIME_STRIDE for i in range(latents)]
        return list(pixels.split(sizes, dim=2))

    def encoder_memory(self) -> Memory:
        return [None] * self.module._cached_conv_counts["encoder"]

    def encode(self, group: Tensor, memory: Memory) -> Tensor:
        moments: Tensor = self.module.quant_conv(self.module.encoder(group, feat_cache=memory, feat_idx=[0]))
        return moments[:, : laws.LATENT_CHANNELS]

    def decoder_memory(self) -> Memory:
        return [None] * self.module._cached_conv_counts["decoder"]

    def decode(self, latent: Tensor, memory: Memory, *, first: bool) -> Tensor:
        prepared = self.module.post_quant_conv(latent)
        pixels: Tensor = self.module.decoder(prepared, feat_cache=memory, feat_idx=[0], first_chunk=first)
        return pixels[0]
