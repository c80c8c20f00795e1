"""The encoder streams of a VACE context, and the gray that they mostly see.

A stream in which nothing but gray was seen needs no encoder: what gray becomes depends only on the position since the
stream's start, and soon on nothing at all. `GrayLatents` makes these latents once per session; a stream leaves them
for an encoder of its own with the first frame that is not gray.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scope_batch import laws
from scope_batch.engine.vae_stream import EncoderStream, Memory, Vae


class GrayLatents:
    """Latents of a stream of gray frames (0 in -1..1) by position, the stream's first latent frame being position 0.

    Made as they are asked for, until the encoder's memory no longer changes, bit for bit: from then on every latent is
    the last one. Wan's encoder settles after 29 latent frames, the tiny ones after ten, so `KEPT` are enough.
    """

    KEPT = 32

    def __init__(self, vae: Vae, height: int, width: int, *, normalised: bool = True) -> None:
        """height, width in pixels; normalised as for `EncoderStream`."""
        self.normalised = normalised
        self._encoder = EncoderStream(vae, normalised=normalised)
        self._vae, self._height, self._width = vae, height, width
        self._latents: list[Tensor] = []
        self._steady = False

    def at(self, position: int, count: int) -> Tensor | None:
        """[1, count, 16, h, w] from `position` on; None beyond `KEPT` in an encoder that never settles."""
        while not self._steady and len(self._latents) < min(position + count, self.KEPT):
            self._extend()
        if not self._steady and len(self._latents) < position + count:
            return None
        last = len(self._latents) - 1
        return torch.cat([self._latents[min(p, last)] for p in range(position, position + count)], dim=1)

    def resume(self, encoder: EncoderStream, position: int) -> None:
        """Bring a new `encoder` into the state that it would have after `position` latent frames of gray."""
        if position == len(self._latents) or (self._steady and position > len(self._latents)):
            encoder.continue_as(self._encoder)
            return
        for p in range(position):
            encoder.encode(self.pixels(laws.frames_of_latents(1, first=p == 0)))

    def pixels(self, frames: int) -> Tensor:
        """[1, 3, frames, H, W] of gray."""
        return torch.zeros(1, 3, frames, self._height, self._width, dtype=self._vae.dtype, device=self._vae.device)

    def _extend(self) -> None:
        before = self._encoder.memory
        self._latents.append(self._encoder.encode(self.pixels(laws.frames_of_latents(1, first=not self._latents))))
        self._steady = same_memory(before, self._encoder.memory)


class ControlStream:
    """Pixels -> latents like `EncoderStream`, but gray costs next to nothing while nothing else was seen."""

    def __init__(self, vae: Vae, gray: GrayLatents) -> None:
        self._vae, self._gray = vae, gray
        self._encoder = EncoderStream(vae, normalised=gray.normalised)
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._encoder.reset()
        self._position, self._only_gray = 0, True

    def encode(self, pixels: Tensor | None, frames: int) -> Tensor:
        """`frames` pixel frames [1, 3, frames, H, W] in -1..1, None = gray -> [1, F, 16, h, w] in the VAE's dtype.

        Counts as for `EncoderStream`.
        """
        count = self._vae.latents_of(frames, first=self._position == 0)
        latents = self._gray.at(self._position, count) if self._only_gray and pixels is None else None
        if latents is None:
            if self._only_gray:
                self._gray.resume(self._encoder, self._position)
                self._only_gray = False
            latents = self._encoder.encode(self._gray.pixels(frames) if pixels is None else pixels)
        self._position += count
        return latents


def same_memory(one: Memory, other: Memory) -> bool:
    """Two encoder memories are equal bit for bit."""
    # From the end, which is the last to settle: most comparisons end at their first tensor.
    return all(
        a is b or (isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b))
        for a, b in zip(reversed(one), reversed(other), strict=True)
    )
