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
    """The `Generated` of the diffusion engine: copies are queued at once, and reading waits for them."""

    def __init__(self, chunk: int, frames: Tensor, finite: Tensor, latents: Tensor) -> None:
        """frames uint8 [T, H, W, 3], finite bool [], latents [1, F, 16, h, w], all on the device."""
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
            raise JobError(f"chunk {self._chunk}: the model made NaN or infinite values; nothing of it is written")

    def frames(self) -> Frames:
        self._wait()
        return self._frames.numpy()

    def latents(self) -> NDArray[np.float32]:
        self._wait()
        return self._latents.numpy()
