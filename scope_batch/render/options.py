"""Holds the options of a render that are not part of the job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """Of one render.

    outputs, output_format  `-o` (paths, `-` for standard output; none = the job's) and `-f` (the format of `-`).
    overwrite   replace outputs that exist. Without it, a job whose outputs are whole and its own is skipped, and any
                other output that exists is an OutputExistsError; `skip_existing` spells that out.
    models      folder, "tiny", or None for the job's or the usual places.
    device      "auto", "cpu", "cuda", "cuda:N"; dtype "auto", "float32", "bfloat16".
    low_vram    "off", "on", "cast" or "auto": see `EngineRequest`.
    latents     also save the denoised latents here (safetensors); preview: a PNG replaced after each chunk.
    metadata    write the resolved job into the outputs.
    force       go on although the disk looks too small.
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
