"""Encodes the VACE context of a chunk: kept pixels, replaced pixels, mask and reference, as latents.

Kept and replaced pixels have one encoder stream each. Most frames of these streams are plain gray. As long as a stream
has had only gray frames, its latents depend only on the position since the stream's start, and after some frames they
are constant. `GrayLatents` computes them once per session, so that such a stream needs no encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.core.frames import GENERATE_ABOVE, ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk
from scope_batch.engine.device import to_device
from scope_batch.engine.vae_stream import EncoderStream, FeatureCache, Vae


class VaceContext:
    """Builds the VACE contexts of one render, one chunk after the other. It allocates nothing before the first."""

    def __init__(self, vae: Vae, height: int, width: int, *, normalised: bool = True) -> None:
        """height, width in pixels; normalised as for `EncoderStream`."""
        gray = GrayLatents(vae, height, width, normalised=normalised)
        self._inactive, self._reactive = (ControlStream(vae, gray) for _ in range(2))
        self._reference = EncoderStream(vae, normalised=normalised)
        self._lead_frames = vae.lead_frames
        self._dtype, self._device = vae.dtype, vae.device

    def build(self, chunk: Chunk, inputs: ChunkInputs) -> Tensor:
        """float32 [1, 96, Fc, h, w]: 16 latent channels of kept pixels, 16 of replaced pixels, 64 mask channels.

        Fc counts one latent frame for a reference, and those of the chunk if it has control frames. Advances the two
        encoder streams by the chunk's frames.
        """
        assert chunk.vace is not None
        parts = []
        if chunk.vace.reference is not None:
            assert inputs.reference is not None, f"chunk {chunk.index}: the VACE reference is missing"
            parts.append(self._encode_reference(inputs.reference))
        if chunk.vace.has_frames:
            assert inputs.control is not None, f"chunk {chunk.index}: the control frames are missing"
            parts.append(self._encode_frames(chunk, inputs.control))
        return torch.cat(parts, dim=2)

    def state(self) -> dict[str, Any]:
        streams = {"inactive": self._inactive, "reactive": self._reactive}
        return {f"{name}.{key}": value for name, stream in streams.items() for key, value in stream.state().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, stream in (("inactive.", self._inactive), ("reactive.", self._reactive)):
            stream.restore({key.removeprefix(name): value for key, value in state.items() if key.startswith(name)})

    def _encode_reference(self, picture: NDArray[np.float32]) -> Tensor:
        """Encode an image [H, W, 3] in -1..1 as the kept pixels of a video of one frame; other channels are zero."""
        latents = self._reference.encode(self._pixels(picture[None]))
        self._reference.reset()
        height, width = latents.shape[-2:]
        context = torch.zeros(1, geometry.VACE_CHANNELS, 1, height, width, device=self._device)
        context[:, : geometry.LATENT_CHANNELS] = latents.transpose(1, 2)
        return context

    def _encode_frames(self, chunk: Chunk, control: ControlFrames) -> Tensor:
        assert chunk.vace is not None
        count = chunk.lead + chunk.frames
        assert len(control.frames) == len(control.masks) == count, f"chunk {chunk.index}: {count} control frames needed"
        assert chunk.vace.restart_streams or not chunk.cut, (
            f"chunk {chunk.index}: the encoder streams must restart at a cut"
        )
        if chunk.vace.restart_streams:
            self._inactive.reset()
            self._reactive.reset()
        masks = to_device(control.masks, self._device)
        inactive, reactive = self._split(control, masks > GENERATE_ABOVE)
        latents = [self._encode(self._inactive, inactive, chunk), self._encode(self._reactive, reactive, chunk)]
        return torch.cat([*latents, mask_channels(masks[chunk.lead :], chunk.latents)], dim=1)

    def _encode(self, stream: ControlStream, pixels: Tensor | None, chunk: Chunk) -> Tensor:
        """Encode to [1, 16, chunk.latents, h, w]. Latents of frames before the chunk are dropped."""
        lead = min(chunk.lead, self._lead_frames)
        if pixels is not None:
            pixels = pixels[:, :, chunk.lead - lead :]
        return stream.encode(pixels, lead + chunk.frames)[:, lead:].transpose(1, 2).float()

    def _split(self, control: ControlFrames, replaced: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Split into kept and replaced pixels [1, 3, T, H, W], each gray (0) elsewhere; None = gray everywhere."""
        if control.inactive_is_gray and control.reactive_is_gray:
            return None, None
        frames = self._pixels(control.frames)
        inactive = None if control.inactive_is_gray else frames.masked_fill(replaced, 0)
        reactive = None if control.reactive_is_gray else frames.masked_fill(~replaced, 0)
        return inactive, reactive

    def _pixels(self, frames: NDArray[np.float32]) -> Tensor:
        """Copy [T, H, W, 3] to the device as [1, 3, T, H, W]."""
        return to_device(frames, self._device).permute(3, 0, 1, 2).unsqueeze(0).to(self._dtype).contiguous()


def mask_channels(masks: Tensor, latents: int) -> Tensor:
    """Rearrange masks [T, H, W] to [1, 64, latents, h, w]: channel 8 * dy + dx is pixel (dy, dx) of every 8 x 8 cell.

    Each latent frame takes the mask of the frame nearest to the middle of its time span.
    """
    middles = [(2 * i + 1) * len(masks) // (2 * latents) for i in range(latents)]
    sampled = torch.stack([masks[frame] for frame in middles])  # indexing with a list would wait for the device
    cells = torch.nn.functional.pixel_unshuffle(sampled.unsqueeze(1), geometry.SPACE_STRIDE)
    return cells.transpose(0, 1).unsqueeze(0)


class GrayLatents:
    """Computes the latents of a stream of gray frames (0 in -1..1) by position, counted from the stream's start.

    They are computed on demand until the encoder's features no longer change, bit for bit. From then on every latent
    equals the last one. Wan's encoder settles after 29 latent frames, the tiny ones after ten: fewer than `KEPT`.
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
        """Return latents [1, count, 16, h, w] from `position` on; None beyond `KEPT` if the encoder has not settled."""
        while not self._steady and len(self._latents) < min(position + count, self.KEPT):
            self._extend()
        if not self._steady and len(self._latents) < position + count:
            return None
        last = len(self._latents) - 1
        return torch.cat([self._latents[min(p, last)] for p in range(position, position + count)], dim=1)

    def resume(self, encoder: EncoderStream, position: int) -> None:
        """Bring a new `encoder` to the state that it would have after `position` latent frames of gray."""
        if position == len(self._latents) or (self._steady and position > len(self._latents)):
            encoder.continue_as(self._encoder)
            return
        for p in range(position):
            encoder.encode(self.pixels(geometry.frames_of_latents(1, first=p == 0)))

    def pixels(self, frames: int) -> Tensor:
        """Return gray frames [1, 3, frames, H, W]."""
        return torch.zeros(1, 3, frames, self._height, self._width, dtype=self._vae.dtype, device=self._vae.device)

    def _extend(self) -> None:
        before = self._encoder.features
        self._latents.append(self._encoder.encode(self.pixels(geometry.frames_of_latents(1, first=not self._latents))))
        self._steady = same_features(before, self._encoder.features)


class ControlStream:
    """Encodes like `EncoderStream`, but runs no encoder until the first frame that is not gray."""

    def __init__(self, vae: Vae, gray: GrayLatents) -> None:
        self._vae, self._gray = vae, gray
        self._encoder = EncoderStream(vae, normalised=gray.normalised)
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._encoder.reset()
        self._position, self._only_gray = 0, True

    def encode(self, pixels: Tensor | None, frames: int) -> Tensor:
        """Encode pixel frames [1, 3, frames, H, W] in -1..1 to latents [1, F, 16, h, w] in the VAE's dtype.

        pixels  None = all gray.
        frames  number of frames; valid numbers are those of `EncoderStream`.
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

    def state(self) -> dict[str, Any]:
        return {**self._encoder.state(), "position": self._position, "only_gray": int(self._only_gray)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._encoder.restore(state)
        self._position, self._only_gray = state["position"], bool(state["only_gray"])


def same_features(one: FeatureCache, other: FeatureCache) -> bool:
    """Return True if the features of two encoders are equal bit for bit."""
    # The last layers settle last, so that most comparisons that start there end at the first tensor.
    return all(
        a is b or (isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b))
        for a, b in zip(reversed(one), reversed(other), strict=True)
    )
