"""Copies a chunk's frames and latents from the device to the host without waiting for them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.core.frames import Frames
from scope_batch.engine.device import device_faults, to_host
from scope_batch.errors import JobError


class DeviceFrames:
    """The frames and latents of one chunk (see `core.engine.Generated`).

    The copies to the host are queued on creation; `frames` and `latents` wait for them. Both raise JobError if the
    model produced NaN or infinite values, and TemporaryError or UnavailableError if the device fails.
    """

    def __init__(self, chunk: int, frames: Tensor, finite: Tensor, latents: Tensor) -> None:
        """Queue the copies. frames uint8 [T, H, W, 3], finite bool [], latents [1, F, 16, h, w], all on the device."""
        self._chunk = chunk
        self._frames, self._finite, self._latents = (to_host(t) for t in (frames, finite, latents.float()[0]))
        self._ready = torch.cuda.Event() if frames.device.type == "cuda" else None
        if self._ready is not None:
            self._ready.record(torch.cuda.current_stream(frames.device))

    def _wait(self) -> None:
        if self._ready is not None:
            with device_faults(self._chunk):
                self._ready.synchronize()
        if not bool(self._finite):
            raise JobError(f"chunk {self._chunk}: the model produced NaN or infinite values; this chunk is not written")

    def frames(self) -> Frames:
        """Return all frames, uint8 [T, H, W, 3]."""
        self._wait()
        return self._frames.numpy()

    def latents(self) -> NDArray[np.float32]:
        """Return the denoised latents, float32 [F, 16, h, w]."""
        self._wait()
        return self._latents.numpy()
