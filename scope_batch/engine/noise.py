"""Draws the noise of every chunk, and measures motion, by which video mode may set its noise scale.

Noise is drawn one chunk ahead. By default it is drawn on the CPU, so that every machine draws the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.core.plan import Chunk, Plan


@dataclass(frozen=True, slots=True)
class ChunkNoise:
    """The noise of one chunk, float32.

    initial  [1, F, 16, h, w], the start of the first denoising step.
    steps    one [F, 16, h, w] for every later step, added before it.
    """

    initial: Tensor
    steps: tuple[Tensor, ...]


def draw(chunk: Chunk, height: int, width: int, *, device: torch.device, pin: bool = False) -> ChunkNoise:
    """Draw the noise of one chunk from `chunk.noise_seed`, in the reference's order and shapes.

    height, width  in pixels.
    device         of the generator: CPU and CUDA draw different numbers.
    pin            allocate it in pinned memory.
    """
    generator = torch.Generator(device).manual_seed(chunk.noise_seed)
    shape = (chunk.latents, geometry.LATENT_CHANNELS, height // geometry.SPACE_STRIDE, width // geometry.SPACE_STRIDE)

    def normal(*size: int) -> Tensor:
        out = torch.empty(size, dtype=torch.float32, device=device, pin_memory=pin)
        return torch.randn(size, generator=generator, out=out)

    return ChunkNoise(normal(1, *shape), tuple(normal(*shape) for _ in chunk.denoising_steps[1:]))


class NoiseSource:
    """Provides each chunk's noise on the compute device and draws the next chunk's in a background thread."""

    def __init__(self, plan: Plan, compute: torch.device, drawn_on: torch.device) -> None:
        self._plan, self._compute, self._drawn_on = plan, compute, drawn_on
        self._ahead: tuple[int, Future[ChunkNoise]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="noise")

    def _draw(self, chunk: Chunk) -> ChunkNoise:
        pin = self._compute.type == "cuda" and self._drawn_on.type == "cpu"
        return draw(chunk, self._plan.height, self._plan.width, device=self._drawn_on, pin=pin)

    def take(self, chunk: Chunk) -> ChunkNoise:
        """Return this chunk's noise on the compute device, and start to draw the next chunk's."""
        index, ahead = self._ahead or (-1, None)
        noise = ahead.result() if ahead is not None and index == chunk.index else self._draw(chunk)
        following = chunk.index + 1
        if following < len(self._plan.chunks):
            self._ahead = following, self._thread.submit(self._draw, self._plan.chunks[following])
        return ChunkNoise(
            noise.initial.to(self._compute, non_blocking=True),
            tuple(step.to(self._compute, non_blocking=True) for step in noise.steps),
        )

    def __enter__(self) -> NoiseSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)


class NoiseController:
    """Measures the motion of the input video, by which video mode adds less noise when it moves and more when it rests.

    It runs on the host, on the input frames before they are copied to the device.
    """

    def __init__(self, frames: int) -> None:
        """frames: how many of a chunk's last frames are compared; the reference takes the latent frames of a block."""
        self._frames = frames
        self._last: NDArray[np.float32] | None = None

    def reset(self) -> None:
        """Forget the last frame."""
        self._last = None

    def motion(self, pixels: NDArray[np.generic]) -> float:
        """Return the motion in 0..1 at the end of a chunk's frames [T, H, W, 3] (0..255), and keep its last frame.

        It is the largest RMS difference between one of the last `frames` frames and the frame before. As in the
        reference, the first of them is compared with the last frame of the previous chunk, if there is one.
        """
        tail = pixels[-(self._frames + 1) :].astype(np.float32)
        newer = tail[-self._frames :]
        older = (
            [tail[-len(newer) - 1 + i] for i in range(len(newer))] if len(tail) > len(newer) else [None, *newer[:-1]]
        )
        if self._last is not None:
            older[0] = self._last
        largest = max((_rms(a, b) for a, b in zip(newer, older, strict=True) if b is not None), default=0.0)
        self._last = newer[-1].copy()
        return min(largest / geometry.CONTROLLER_FULL_MOTION, 1.0)

    def state(self) -> dict[str, Any]:
        return {"last": None if self._last is None else torch.from_numpy(self._last)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last = None if state["last"] is None else state["last"].numpy().copy()


def _rms(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the RMS difference of two frames (0..255), scaled to frames in -1..1."""
    return float(np.sqrt(np.mean(np.square((a - b) / np.float32(127.5)))))
