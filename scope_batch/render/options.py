"""Holds the options of a render that are not part of the job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """Options of one render.

    outputs, output_format  `-o` (paths, `-` for standard output; none = the job's) and `-f` (the format of `-`).
    overwrite   replace existing outputs. Otherwise a job whose outputs are complete and its own is skipped, and any
                other existing output is an OutputExistsError; `skip_existing` states that choice.
    models      folder, "tiny", or None for the folder in the job or the default places.
    device      "auto", "cpu", "cuda", "cuda:N"; dtype "auto", "float32", "bfloat16".
    low_vram    "off", "on", "cast" or "auto": see `EngineRequest`.
    latents     also save the denoised latents here (safetensors); preview: a PNG replaced after each chunk.
    metadata    write the resolved job into the outputs.
    force       render although the disk seems too small.
    """

    outputs: tuple[str, ...] = ()
    output_format: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    models: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    low_vram: str = "auto"
    latents: Path | None = None
    preview: Path | None = None
    metadata: bool = True
    force: bool = False
    deterministic: bool = False


DEFAULT_OPTIONS = RenderOptions()
