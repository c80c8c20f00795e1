"""The contract between the render loop and whatever makes frames: an engine opened as a session, asked chunk by chunk.

The loop knows nothing else about a pipeline, so the slate (which draws the plan) and the diffusion engine are alike.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scope_batch.chunk import Chunk, Plan
from scope_batch.events import Report

Frames = NDArray[np.uint8]
"""uint8 [T, H, W, 3], RGB."""


class Generated(Protocol):
    """What a chunk became. May still be on its way from the device: reading waits, on the reader's thread."""

    def frames(self) -> Frames:
        """All `chunk.frames` frames, uint8 [T, H, W, 3]. Raises JobError if the model made NaN or Inf."""
        ...

    def latents(self) -> NDArray[np.float32] | None:
        """Denoised latents float32 [F, 16, H/8, W/8], or None if the pipeline has none."""
        ...


class Session(Protocol):
    """One render's streaming state: KV cache, VAE streams, noise controller. Chunks come in order, each once."""

    def generate(self, chunk: Chunk, pixels: Frames | None) -> Generated:
        """Make one chunk. `pixels`: the input's `chunk.frames` frames in video mode, else None."""
        ...


class Engine(Protocol):
    """A loaded pipeline. Sessions are opened one at a time; what one leaves behind never reaches the next."""

    def session(self, plan: Plan, report: Report) -> AbstractContextManager[Session]: ...

    def peak_device_bytes(self) -> int:
        """Most device memory held so far; 0 on a CPU."""
        ...
