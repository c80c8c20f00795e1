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
                Both: skip what is complete and the job's own, replace the rest.
    models      folder, "tiny", "random", or None for the folder in the job or the default places.
    device      "auto", "cpu", "cuda", "cuda:N"; dtype "auto", "float32", "bfloat16".
    low_vram    "off", "on", "cast" or "auto": see `EngineRequest`; kernels "auto", "off", likewise.
    latents     also save the denoised latents here (safetensors); preview: a PNG replaced after each chunk.
    metadata    write the resolved job into the outputs.
    force       render although the disk seems too small.
    resume      True: store the chunks however short the render is, and continue from stored ones even if they were made
                on another machine; False: begin anew; None: a render of more than a minute stores its chunks, and
                continues from those of an earlier run of the same job, but not with `overwrite`.
    checkpoint_every  save the streaming state every so many chunks; None: as often as 2 % of the time allows; 0: store
                nothing.
    work_dir    store the chunks here, not beside the first output.
    reuse       start with the equal chunks in this work folder of another render.
    keep_work   the stored chunks stay when the outputs are published.
    """

    outputs: tuple[str, ...] = ()
    output_format: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    models: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    low_vram: str = "auto"
    kernels: str = "auto"
    latents: Path | None = None
    preview: Path | None = None
    metadata: bool = True
    force: bool = False
    deterministic: bool = False
    resume: bool | None = None
    checkpoint_every: int | None = None
    work_dir: Path | None = None
    reuse: Path | None = None
    keep_work: bool = False


DEFAULT_OPTIONS = RenderOptions()
