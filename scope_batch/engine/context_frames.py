"""What a chunk of Krea Realtime continues: three latent frames, from which keys and values are made anew every time."""

from __future__ import annotations

import torch
from torch import Tensor

from scope_batch import laws
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream


class ContextFrames:
    """The oldest picture in sight, then the last two latent frames of the sequence. See `history.History`.

    For the second chunk of a sequence the oldest is the first latent frame there was. For later ones it is the oldest
    decoded frame in sight, encoded by itself: it begins a video, as what stands at position 0 should.
    """

    def __init__(self, encoder: EncoderStream, decoder: DecoderStream) -> None:
        """encoder  for single frames, nobody else's. decoder: the sequence's, with `laws.FRAMES_IN_SIGHT`."""
        self._encoder, self._decoder = encoder, decoder
        self._first: Tensor | None = None
        self._last: Tensor | None = None

    def put(self, start: int, latents: Tensor) -> None:
        """Remember a chunk's clean latents [1, F, 16, h, w], F >= 3, when they are decoded; start 0: a new sequence."""
        self._first = None if start else latents[:, :1].clone()
        self._last = latents[:, 1 - laws.CONTEXT_LATENTS :].clone()

    def last(self, start: int, count: int) -> Tensor:
        """The whole context [1, 3, 16, h, w], which has positions of its own: 0, 1, 2."""
        assert (start, count) == (0, laws.CONTEXT_LATENTS) and self._last is not None
        return torch.cat([self._oldest().to(self._last.dtype), self._last], dim=1)

    def _oldest(self) -> Tensor:
        if self._first is not None:
            return self._first
        recent = self._decoder.recent
        assert recent is not None and recent.shape[2] == laws.FRAMES_IN_SIGHT
        latent = self._encoder.encode(recent[:, :, :1])
        self._encoder.reset()
        return latent
