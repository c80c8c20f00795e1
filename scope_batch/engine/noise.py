"""Gaussian noise, drawn a chunk ahead on the CPU so that every machine draws the same."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor

from scope_batch import laws
from scope_batch.chunk import Chunk, Plan


@dataclass(frozen=True, slots=True)
class ChunkNoise:
    """initial [1, F, 16, h, w] and, before every step but the first, one of `steps` [F, 16, h, w]; float32."""

    initial: Tensor
    steps: tuple[Tensor, ...]


def draw(chunk: Chunk, height: int, width: int, *, device: torch.device, pin: bool = False) -> ChunkNoise:
    """Noise of one chunk from `chunk.noise_seed`, in the reference's order and shapes.

    height, width in pixels; device: where the generator lives (each kind of device draws its own numbers).
    """
    generator = torch.Generator(device).manual_seed(chunk.noise_seed)
    shape = (chunk.latents, laws.LATENT_CHANNELS, height // laws.SPACE_STRIDE, width // laws.SPACE_STRIDE)

    def normal(*size: int) -> Tensor:
        out = torch.empty(size, dtype=torch.float32, device=device, pin_memory=pin)
        return torch.randn(size, generator=generator, out=out)

    return ChunkNoise(normal(1, *shape), tuple(normal(*shape) for _ in chunk.denoising_steps[1:]))


class NoiseSource:
    """Hands out each chunk's noise on the compute device while the next chunk's is being drawn."""

    def __init__(self, plan: Plan, compute: torch.device, drawn_on: torch.device) -> None:
        self._plan, self._compute, self._drawn_on = plan, compute, drawn_on
        self._ahead: tuple[int, Future[ChunkNoise]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="noise")

    def _draw(self, chunk: Chunk) -> ChunkNoise:
        pin = self._compute.type == "cuda" and self._drawn_on.type == "cpu"
        return draw(chunk, self._plan.height, self._plan.width, device=self._drawn_on, pin=pin)

    def take(self, chunk: Chunk) -> ChunkNoise:
        """This chunk's noise; the drawing of the next chunk's begins."""
        index, ahead = self._ahead or (-1, None)
        noise = ahead.result() if ahead is not None and index == chunk.index else self._draw(chunk)
        following = chunk.index + 1
        if following < len(self._plan.chunks):
            self._ahead = following, self._thread.submit(self._draw, self._plan.chunks[following])
        move = self._compute
        return ChunkNoise(
            noise.initial.to(move, non_blocking=True),
            tuple(step.to(move, non_blocking=True) for step in noise.steps),
        )

    def __enter__(self) -> NoiseSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)
