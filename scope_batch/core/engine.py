"""Defines the contract between render loop and engines: an engine opens a session, which generates chunk by chunk.

The loop uses nothing else of a pipeline, so the slate (which draws the plan) and the diffusion engine look the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.frames import NO_INPUTS, ChunkInputs, Frames
from scope_batch.core.plan import Chunk, Plan
from scope_batch.events import Report

if TYPE_CHECKING:
    from scope_batch.pipelines.spec import PipelineSpec


class Generated(Protocol):
    """The result of a chunk. It may still be on the device: reading it waits for the transfer."""

    def frames(self) -> Frames:
        """Return all `chunk.frames` frames, uint8 [T, H, W, 3]. Raises JobError if the model made NaN or Inf."""
        ...

    def latents(self) -> NDArray[np.float32] | None:
        """Return the denoised latents, float32 [F, 16, H/8, W/8], or None if the pipeline has none."""
        ...


class Session(Protocol):
    """One render's streaming state: KV cache, VAE streams, noise controller. Takes the chunks in order, each once."""

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> Generated:
        """Generate one chunk."""
        ...


class ByteWriter(Protocol):
    """A file that is written from its beginning to its end."""

    def write(self, data: memoryview | bytes, /) -> int: ...


class Snapshot(Protocol):
    """The streaming state between two chunks, possibly still on its way to host memory."""

    def write(self, file: ByteWriter) -> None:
        """Write it whole; may be called from another thread, once, before the next snapshot is taken."""
        ...

    @property
    def seconds(self) -> float:
        """How long taking it kept the next chunk waiting; known once it is written."""
        ...


@runtime_checkable
class ResumableSession(Session, Protocol):
    """A session whose streaming state can be saved. One that has none of it can only start at a cut."""

    def snapshot(self) -> Snapshot:
        """Copy the state; call it between chunks."""
        ...

    def restore_file(self, path: Path) -> None:
        """Continue exactly as the session did whose snapshot `path` holds. Raises ValueError if it does not fit."""
        ...


@runtime_checkable
class ReproducibleEngine(Protocol):
    """An engine that names what else, besides job and models, decides about the bits of its frames."""

    def environment(self) -> Mapping[str, str]:
        """Name -> value as text: the device and its settings. Versions of packages are compared without it."""
        ...


@runtime_checkable
class PromptedEngine(Protocol):
    """An engine that loads its text encoder for new prompts only, and then encodes prompts of later jobs as well."""

    def expect_prompts(self, texts: Sequence[str]) -> None:
        """Name texts that later sessions will need."""
        ...


class Engine(Protocol):
    """A loaded pipeline. Sessions are opened one at a time; a session never affects the next one."""

    def session(self, plan: Plan, report: Report) -> AbstractContextManager[Session]: ...

    def peak_device_bytes(self) -> int:
        """Return the peak device memory so far in bytes; 0 on a CPU."""
        ...


@dataclass(frozen=True, slots=True)
class LoraRequest:
    """A LoRA to load. scale: that of a merged LoRA; None = a side branch, whose scale each chunk sets."""

    path: Path
    scale: float | None


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The requirements for loading an engine; equal requests can share one.

    models        folder, "tiny", "random", or None for the default places.
    device        "auto", "cpu", "cuda", "cuda:N"; dtype, vae_dtype "auto", "float32", "bfloat16".
    noise_device  "cpu" or "cuda": the device that draws the noise.
    vace          the VACE module is needed; loras: in the order of the plan.
    quantization  None or "fp8_e4m3fn", which excludes merged LoRAs.
    speed         "exact" or "high": lossy parts, see the job's field.
    kernels       "auto": run the project's own kernels where the device supports them; "off": torch alone.
    low_vram      "off", "on" (blocks in host memory), "cast" (weights in fp8), or "auto": "on" if
                  `expected_bytes` do not fit.
    """

    spec: PipelineSpec
    models: str | None = None
    vae_type: str = "wan"
    device: str = "auto"
    dtype: str = "auto"
    vae_dtype: str = "auto"
    noise_device: str = "cpu"
    deterministic: bool = False
    kernels: str = "auto"
    vace: bool = False
    loras: tuple[LoraRequest, ...] = ()
    quantization: str | None = None
    speed: str = "exact"
    low_vram: str = "off"
    expected_bytes: int = 0


class Loader(Protocol):
    def __call__(self, request: EngineRequest, report: Report) -> Engine: ...
