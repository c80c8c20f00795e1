"""What VACE sees of a chunk: kept pixels, replaced pixels, mask and reference, as one latent context."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scope_batch import laws
from scope_batch.chunk import Chunk
from scope_batch.engine.transfer import to_device
from scope_batch.engine.vace_stream import ControlStream, GrayLatents
from scope_batch.engine.vae_stream import EncoderStream, Vae
from scope_batch.session import ChunkInputs, ControlFrames

KEPT_BELOW = 0.5
"""A pixel is replaced where the mask is above, kept where it is not; soft values show in the mask channels alone."""


class VaceContext:
    """Builds one render's contexts, chunk after chunk. Nothing is allocated before the first."""

    def __init__(self, vae: Vae, height: int, width: int, *, normalised: bool = True) -> None:
        """height, width in pixels; normalised as for `EncoderStream`."""
        gray = GrayLatents(vae, height, width, normalised=normalised)
        self._inactive, self._reactive = (ControlStream(vae, gray) for _ in range(2))
        self._reference = EncoderStream(vae, normalised=normalised)
        self._lead_frames = vae.lead_frames
        self._dtype, self._device = vae.dtype, vae.device

    def build(self, chunk: Chunk, inputs: ChunkInputs) -> Tensor:
        """float32 [1, 96, Fc, h, w]: 16 channels of kept and 16 of replaced pixels as latents, 64 of mask.

        Fc is 1 for a reference and the chunk's latents for frames. Advances the two streams by the chunk's frames.
        """
        assert chunk.vace is not None
        parts = []
        if chunk.vace.reference is not None:
            assert inputs.reference is not None, f"chunk {chunk.index}: its reference is missing"
            parts.append(self._of_reference(inputs.reference))
        if chunk.vace.has_frames:
            assert inputs.control is not None, f"chunk {chunk.index}: its control frames are missing"
            parts.append(self._of_frames(chunk, inputs.control))
        return torch.cat(parts, dim=2)

    def _of_reference(self, picture: NDArray[np.float32]) -> Tensor:
        """An image [H, W, 3], encoded as a video of one frame; nothing is replaced and no mask is set."""
        latents = self._reference.encode(self._pixels(picture[None]))
        self._reference.reset()
        height, width = latents.shape[-2:]
        context = torch.zeros(1, laws.VACE_CHANNELS, 1, height, width, device=self._device)
        context[:, : laws.LATENT_CHANNELS] = latents.transpose(1, 2)
        return context

    def _of_frames(self, chunk: Chunk, control: ControlFrames) -> Tensor:
        assert chunk.vace is not None
        count = chunk.lead + chunk.frames
        assert len(control.frames) == len(control.masks) == count, f"chunk {chunk.index}: {count} control frames wanted"
        assert chunk.vace.fresh or not chunk.cut, f"chunk {chunk.index}: the streams go on across a cut"
        if chunk.vace.fresh:
            self._inactive.reset()
            self._reactive.reset()
        masks = to_device(control.masks, self._device)
        inactive, reactive = self._split(control, masks > KEPT_BELOW)
        latents = [self._encode(self._inactive, inactive, chunk), self._encode(self._reactive, reactive, chunk)]
        return torch.cat([*latents, mask_channels(masks[chunk.lead :], chunk.latents)], dim=1)

    def _encode(self, stream: ControlStream, pixels: Tensor | None, chunk: Chunk) -> Tensor:
        """[1, 16, chunk.latents, h, w]: what the VAE sees before the chunk, if anything, has no latents in it."""
        lead = min(chunk.lead, self._lead_frames)
        if pixels is not None:
            pixels = pixels[:, :, chunk.lead - lead :]
        return stream.encode(pixels, lead + chunk.frames)[:, lead:].transpose(1, 2).float()

    def _split(self, control: ControlFrames, replaced: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Kept and replaced pixels [1, 3, T, H, W], each gray (0) where the other shows; None = gray everywhere."""
        if control.inactive_is_gray and control.reactive_is_gray:
            return None, None
        frames = self._pixels(control.frames)
        inactive = None if control.inactive_is_gray else frames.masked_fill(replaced, 0)
        reactive = None if control.reactive_is_gray else frames.masked_fill(~replaced, 0)
        return inactive, reactive

    def _pixels(self, frames: NDArray[np.float32]) -> Tensor:
        """[T, H, W, 3] -> [1, 3, T, H, W] for the encoder."""
        return to_device(frames, self._device).permute(3, 0, 1, 2).unsqueeze(0).to(self._dtype).contiguous()


def mask_channels(masks: Tensor, latents: int) -> Tensor:
    """Masks [T, H, W] -> [1, 64, latents, h, w]: channel 8 * dy + dx is the pixel (dy, dx) of every 8 x 8 cell.

    Of the frames that share a latent frame the one nearest to their middle counts.
    """
    picked = [(2 * i + 1) * len(masks) // (2 * latents) for i in range(latents)]
    chosen = torch.stack([masks[frame] for frame in picked])  # a list as an index would wait for the device
    cells = torch.nn.functional.pixel_unshuffle(chosen.unsqueeze(1), laws.SPACE_STRIDE)
    return cells.transpose(0, 1).unsqueeze(0)
