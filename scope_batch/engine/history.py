"""The last clean latents of a sequence, from which the KV cache is rebuilt under a new prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from scope_batch import laws


class LatentHistory:
    """A ring of `window` latent frames, float32 [16, h, w] each, allocated once."""

    def __init__(self, window: int, height: int, width: int, device: torch.device) -> None:
        """height, width in pixels."""
        size = (height // laws.SPACE_STRIDE, width // laws.SPACE_STRIDE)
        self._ring = torch.zeros((window, laws.LATENT_CHANNELS, *size), dtype=torch.float32, device=device)

    def put(self, start: int, latents: Tensor) -> None:
        """Remember [1, F, 16, h, w], latent frames start .. start + F - 1 since the last cut."""
        for i, latent in enumerate(latents[0]):
            self._ring[(start + i) % len(self._ring)].copy_(latent)

    def last(self, start: int, count: int) -> Tensor:
        """Latent frames start .. start + count - 1 as [1, count, 16, h, w]."""
        return torch.stack([self._ring[(start + i) % len(self._ring)] for i in range(count)]).unsqueeze(0)
