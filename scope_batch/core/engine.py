"""The contract between the render loop and whatever makes frames: an engine opened as a session, asked chunk by chunk.

The loop knows nothing else about a pipeline, so the slate (which draws the plan) and the diffusion engine are alike.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.frames import NO_INPUTS, ChunkInputs, Frames
from scope_batch.core.plan import Chunk, Plan
from scope_batch.events import Report

if TYPE_CHECKING:
    from scope_batch.pipelines.spec import PipelineSpec


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

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> Generated:
        """Make one chunk."""
        ...


class Engine(Protocol):
    """A loaded pipeline. Sessions are opened one at a time; what one leaves behind never reaches the next."""

    def session(self, plan: Plan, report: Report) -> AbstractContextManager[Session]: ...

    def peak_device_bytes(self) -> int:
        """Most device memory held so far; 0 on a CPU."""
        ...


@dataclass(frozen=True, slots=True)
class LoraRequest:
    """A LoRA to load. scale: merged into the weights with it; None = a side branch whose scale the chunks set."""

    path: Path
    scale: float | None


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What an engine is loaded for; equal requests can share one.

    models        folder, "tiny", or None for the usual places.
    device        "auto", "cpu", "cuda", "cuda:N"; dtype, vae_dtype "auto", "float32", "bfloat16".
    noise_device  "cpu" or "cuda": where the noise is drawn.
    vace          the VACE module is needed; loras: in the order of the plan.
    quantization  None or "fp8_e4m3fn", for which no LoRA may be merged.
    low_vram      "off", "on" (blocks wait in host memory), "cast" (in fp8), or "auto": whether `expected_bytes` fit.
    """

    spec: PipelineSpec
    models: str | None = None
    vae_type: str = "wan"
    device: str = "auto"
    dtype: str = "auto"
    vae_dtype: str = "auto"
    noise_device: str = "cpu"
    deterministic: bool = False
    vace: bool = False
    loras: tuple[LoraRequest, ...] = ()
    quantization: str | None = None
    low_vram: str = "off"
    expected_bytes: int = 0


class Loader(Protocol):
    def __call__(self, request: EngineRequest, report: Report) -> Engine: ...
