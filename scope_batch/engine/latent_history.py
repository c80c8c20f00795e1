"""Keeps clean latents of the sequence for the passes that recompute keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.engine.device import copied, overwrite
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream, Vae
from scope_batch.pipelines import PipelineSpec


class History(Protocol):
    """Clean latents of the sequence so far."""

    def put(self, start: int, latents: Tensor) -> None:
        """Store [1, F, 16, h, w], latent frames start .. start + F - 1 since the last cut."""
        ...

    def last(self, start: int, count: int) -> Tensor:
        """Latent frames for a recache of positions start .. start + count - 1: float32 [1, count, 16, h, w]."""
        ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


def recent_frames_of(spec: PipelineSpec) -> int:
    """How many decoded frames the pipeline's history needs from the decoder."""
    return geometry.RECENT_FRAMES if spec.memory == "context" else 0


def open_history(spec: PipelineSpec, vae: Vae, decoder: DecoderStream, height: int, width: int) -> History:
    """height, width in pixels; decoder: the session's, which keeps `recent_frames_of(spec)` frames."""
    if spec.memory == "context":
        return ContextFrames(EncoderStream(vae, normalised=spec.normalised), decoder)
    return LatentHistory(spec.window, height, width, vae.device)


class LatentHistory:
    """A ring of `window` latent frames, float32 [16, h, w] each, allocated once. See `History`."""

    def __init__(self, window: int, height: int, width: int, device: torch.device) -> None:
        """height, width in pixels."""
        size = (height // geometry.SPACE_STRIDE, width // geometry.SPACE_STRIDE)
        self._ring = torch.zeros((window, geometry.LATENT_CHANNELS, *size), dtype=torch.float32, device=device)

    def put(self, start: int, latents: Tensor) -> None:
        for i, latent in enumerate(latents[0]):
            self._ring[(start + i) % len(self._ring)].copy_(latent)

    def last(self, start: int, count: int) -> Tensor:
        return torch.stack([self._ring[(start + i) % len(self._ring)] for i in range(count)]).unsqueeze(0)

    def state(self) -> dict[str, Any]:
        return {"ring": self._ring}

    def restore(self, state: Mapping[str, Any]) -> None:
        overwrite(self._ring, state["ring"])


class ContextFrames:
    """The context that Krea Realtime re-encodes before every chunk but the first: three latent frames. See `History`.

    The last two latent frames of the sequence follow an anchor. For the second chunk of a sequence the anchor is its
    first latent frame. For later chunks it is the oldest of the decoder's recent frames, encoded as a video of its own,
    because a latent frame at position 0 is always the first of a video.
    """

    def __init__(self, encoder: EncoderStream, decoder: DecoderStream) -> None:
        """encoder: used for single frames and by nothing else. decoder: the session's, which keeps `RECENT_FRAMES`."""
        self._encoder, self._decoder = encoder, decoder
        self._first: Tensor | None = None
        self._last: Tensor | None = None

    def put(self, start: int, latents: Tensor) -> None:
        """Store a decoded chunk's clean latents [1, F, 16, h, w], F >= 3; start 0 begins a new sequence."""
        self._first = None if start else latents[:, :1].clone()
        self._last = latents[:, 1 - geometry.CONTEXT_LATENTS :].clone()

    def last(self, start: int, count: int) -> Tensor:
        """The whole context [1, 3, 16, h, w], always at positions 0, 1, 2."""
        assert (start, count) == (0, geometry.CONTEXT_LATENTS) and self._last is not None
        return torch.cat([self._anchor().to(self._last.dtype), self._last], dim=1)

    def state(self) -> dict[str, Any]:
        return {"first": self._first, "last": self._last}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._first, self._last = (copied(state[name], self._encoder.device) for name in ("first", "last"))

    def _anchor(self) -> Tensor:
        if self._first is not None:
            return self._first
        recent = self._decoder.recent
        assert recent is not None and recent.shape[2] == geometry.RECENT_FRAMES
        latent = self._encoder.encode(recent[:, :, :1])
        self._encoder.reset()
        return latent
