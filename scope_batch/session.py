"""The contract between the render loop and whatever makes frames: an engine opened as a session, asked chunk by chunk.

The loop knows nothing else about a pipeline, so the slate (which draws the plan) and the diffusion engine are alike.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from scope_batch.chunk import Chunk, Plan
from scope_batch.events import Report
from scope_batch.pipelines import KNOWN_PIPELINES, PipelineSpec
from scope_batch.plugins import foreign

Frames = NDArray[np.uint8]
"""uint8 [T, H, W, 3], RGB."""


@dataclass(frozen=True, slots=True, eq=False)
class ControlFrames:
    """The frames that a chunk's VACE context is encoded from, all sources laid over each other.

    frames  float32 [lead + chunk.frames, H, W, 3] in -1..1, RGB; 0 (gray) where nothing is given.
    masks   float32 [lead + chunk.frames, H, W] in 0..1; 1 = generate, 0 = keep the frame.
    inactive_is_gray, reactive_is_gray  no frame has a pixel other than 0 where the mask is <= 0.5, > 0.5.
    `lead` = chunk.lead: the first row lies before the chunk.
    """

    frames: NDArray[np.float32]
    masks: NDArray[np.float32]
    inactive_is_gray: bool
    reactive_is_gray: bool


@dataclass(frozen=True, slots=True, eq=False)
class ChunkInputs:
    """What a chunk is made from, besides the plan.

    pixels     the input video's `chunk.frames` frames in video mode, uint8 [T, H, W, 3].
    control    where chunk.vace.has_frames.
    reference  where chunk.vace.reference: float32 [H, W, 3] in -1..1.
    """

    pixels: Frames | None = None
    control: ControlFrames | None = None
    reference: NDArray[np.float32] | None = None


NO_INPUTS = ChunkInputs()


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


def load_engine(request: EngineRequest, report: Report) -> Engine:
    """Import the pipeline's engine (torch comes with it) and load it. A plugin's fault is one line with its name."""
    module, function = request.spec.engine.split(":")
    with foreign(KNOWN_PIPELINES.where(request.spec.id)):
        return cast(Loader, getattr(import_module(module), function))(request, report)
