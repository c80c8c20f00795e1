"""What is kept of a sequence's clean latents, for the passes that make its keys and values anew."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from scope_batch import laws
from scope_batch.engine.context_frames import ContextFrames
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream, Vae
from scope_batch.pipelines import PipelineSpec


class History(Protocol):
    """Asked before a chunk, and told about it when it is decoded."""

    def put(self, start: int, latents: Tensor) -> None:
        """Remember [1, F, 16, h, w], latent frames start .. start + F - 1 since the last cut."""
        ...

    def last(self, start: int, count: int) -> Tensor:
        """The latent frames for a pass over positions start .. start + count - 1: float32 [1, count, 16, h, w]."""
        ...


def frames_in_sight(spec: PipelineSpec) -> int:
    """Decoded frames that the pipeline's history looks at."""
    return laws.FRAMES_IN_SIGHT if spec.memory == "context" else 0


def open_history(spec: PipelineSpec, vae: Vae, decoder: DecoderStream, height: int, width: int) -> History:
    """height, width in pixels; decoder: the sequence's, with `frames_in_sight`."""
    if spec.memory == "context":
        return ContextFrames(EncoderStream(vae, normalised=spec.normalised), decoder)
    return LatentHistory(spec.window, height, width, vae.device)


class LatentHistory:
    """A ring of `window` latent frames, float32 [16, h, w] each, allocated once. See `History`."""

    def __init__(self, window: int, height: int, width: int, device: torch.device) -> None:
        """height, width in pixels."""
        size = (height // laws.SPACE_STRIDE, width // laws.SPACE_STRIDE)
        self._ring = torch.zeros((window, laws.LATENT_CHANNELS, *size), dtype=torch.float32, device=device)

    def put(self, start: int, latents: Tensor) -> None:
        for i, latent in enumerate(latents[0]):
            self._ring[(start + i) % len(self._ring)].copy_(latent)

    def last(self, start: int, count: int) -> Tensor:
        return torch.stack([self._ring[(start + i) % len(self._ring)] for i in range(count)]).unsqueeze(0)
