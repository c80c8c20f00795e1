"""Keeps clean latents of the current sequence, from which forward passes recompute keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.engine.device import copy_to, overwrite
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream, Vae
from scope_batch.pipelines import PipelineSpec


class History(Protocol):
    """Stores the clean latents of the current sequence that later recaches need."""

    def put(self, start: int, latents: Tensor) -> None:
        """Store float32 [1, F, 16, h, w], the latent frames start .. start + F - 1 counted from the last cut."""
        ...

    def last(self, start: int, count: int) -> Tensor:
        """Return the latent frames of positions start .. start + count - 1 for a recache.

        float32 [1, count, 16, h, w]
        """
        ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


def recent_frames_of(spec: PipelineSpec) -> int:
    """Return how many decoded frames the decoder must keep for the pipeline's history."""
    return geometry.RECENT_FRAMES if spec.memory == "context" else 0


def open_history(spec: PipelineSpec, vae: Vae, decoder: DecoderStream, height: int, width: int) -> History:
    """Create the pipeline's history. height, width in pixels.

    decoder  the session's own, created with `recent_frames=recent_frames_of(spec)`.
    """
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
    """The three latent frames that Krea Realtime recomputes before every chunk but the first. See `History`.

    They are an anchor and the last two latent frames of the sequence. For the second chunk of a sequence the anchor is
    the sequence's first latent frame. For later chunks it is the oldest of the decoder's recent frames, encoded as a
    separate video, because the transformer expects position 0 to be the first latent frame of a video.
    """

    def __init__(self, encoder: EncoderStream, decoder: DecoderStream) -> None:
        """Create an empty context.

        encoder  encodes the anchor; nothing else may use it.
        decoder  the session's own, which keeps `RECENT_FRAMES` frames.
        """
        self._encoder, self._decoder = encoder, decoder
        self._first: Tensor | None = None
        self._last: Tensor | None = None

    def put(self, start: int, latents: Tensor) -> None:
        """Store a decoded chunk's clean latents [1, F, 16, h, w], F >= 3. `start` 0 begins a new sequence."""
        self._first = None if start else latents[:, :1].clone()
        self._last = latents[:, 1 - geometry.CONTEXT_LATENTS :].clone()

    def last(self, start: int, count: int) -> Tensor:
        """Return the context [1, 3, 16, h, w]. Its positions are always 0, 1, 2."""
        assert (start, count) == (0, geometry.CONTEXT_LATENTS) and self._last is not None
        return torch.cat([self._anchor().to(self._last.dtype), self._last], dim=1)

    def state(self) -> dict[str, Any]:
        return {"first": self._first, "last": self._last}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._first, self._last = (copy_to(state[name], self._encoder.device) for name in ("first", "last"))

    def _anchor(self) -> Tensor:
        if self._first is not None:
            return self._first
        recent = self._decoder.recent
        assert recent is not None and recent.shape[2] == geometry.RECENT_FRAMES
        latent = self._encoder.encode(recent[:, :, :1])
        self._encoder.reset()
        return latent
