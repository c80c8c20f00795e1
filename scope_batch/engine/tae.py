"""The tiny auto-encoders as streams take them: groups of four frames from the first on."""

from __future__ import annotations

import torch
from torch import Tensor

from scope_batch import laws
from scope_batch.engine.vae_stream import Memory
from scope_batch.models.tae import MEMORY_BLOCKS, TinyAutoencoder


class TaeVae:
    """See `scope_batch.engine.vae_stream.Vae`. `tae` speaks normalised latents, `lighttae` raw ones.

    Where the first frames of a stream do not fill groups of four, the last one is repeated, and remembered so. The
    first latent frame of a stream decodes to four frames too, of which the last is delivered.
    """

    lead_frames = 0  # a stream may start with any group of four

    def __init__(self, module: TinyAutoencoder, *, speaks_raw: bool) -> None:
        self.module, self.speaks_raw = module, speaks_raw
        self.dtype: torch.dtype = module.dtype
        self.device: torch.device = module.device

    def latents_of(self, frames: int, *, first: bool) -> int:
        """A stream may start with whole groups as well."""
        return laws.latents_of_frames(frames, first=first and frames % laws.TIME_STRIDE != 0)

    def groups(self, pixels: Tensor, *, first: bool) -> list[Tensor]:
        """4, 4 ... frames."""
        frames = pixels.shape[2]
        missing = laws.TIME_STRIDE * self.latents_of(frames, first=first) - frames
        filled = torch.cat([pixels, pixels[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2) if missing else pixels
        return list(filled.split(laws.TIME_STRIDE, dim=2))

    def encoder_memory(self) -> Memory:
        return [None] * MEMORY_BLOCKS

    def encode(self, group: Tensor, memory: Memory) -> Tensor:
        latents = self.module.encode(group[0].transpose(0, 1).add(1).div_(2), memory)
        return latents.transpose(0, 1)[None]

    def decoder_memory(self) -> Memory:
        return [None] * MEMORY_BLOCKS

    def decode(self, latent: Tensor, memory: Memory, *, first: bool) -> Tensor:
        frames = self.module.decode(latent[0].transpose(0, 1), memory)
        return frames[-1 if first else 0 :].transpose(0, 1).mul(2).sub_(1)
