"""What a chunk of Krea Realtime continues: three latent frames, from which keys and values are made anew every time."""

from __future__ import annotations

import torch
from torch import Tensor

from scope_batch.engine.vae_stream import EncoderStream

CONTEXT = 3
"""Latent frames of the context."""
RECENT = 9
"""Decoded pixel frames in sight: as many as the context's latent frames hold."""


class ContextFrames:
    """The oldest picture in sight, then the last two latent frames of the sequence.

    For the second chunk of a sequence the oldest is the first latent frame there was. For later ones it is the oldest
    of the last `RECENT` pixel frames, encoded by itself: it begins a video, as what stands at position 0 should.
    """

    def __init__(self, encoder: EncoderStream) -> None:
        """encoder  for single frames; nobody else's."""
        self._encoder = encoder
        self.reset()

    def reset(self) -> None:
        """A new sequence begins."""
        self._first: Tensor | None = None
        self._last: Tensor | None = None
        self._picture: Tensor | None = None

    def put(self, latents: Tensor, recent: Tensor) -> None:
        """Remember a chunk: its clean latents [1, F, 16, h, w], F >= 3, and the sequence's last `RECENT` pixel frames
        [1, 3, RECENT, H, W] in -1..1, in the VAE's dtype."""
        assert recent.shape[2] == RECENT, f"{recent.shape[2]} pixel frames in sight, not {RECENT}"
        self._first = latents[:, :1].clone() if self._last is None else None
        self._last = latents[:, 1 - CONTEXT :].clone()
        self._picture = recent[:, :, :1].clone()

    def latents(self) -> Tensor | None:
        """[1, CONTEXT, 16, h, w], or None at the start of a sequence."""
        if self._last is None:
            return None
        return torch.cat([self._oldest().to(self._last.dtype), self._last], dim=1)

    def _oldest(self) -> Tensor:
        if self._first is not None:
            return self._first
        assert self._picture is not None
        self._encoder.reset()
        return self._encoder.encode(self._picture)
