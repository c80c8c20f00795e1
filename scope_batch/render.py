"""The render: a job becomes a plan, a session makes its chunks, sinks take the frames, events tell whoever watches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scope_batch.events import Finished, Report
from scope_batch.job import Job


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What the command line says beyond the job.

    outputs, output_format  `-o` (paths, `-` for standard output; none = the job's) and `-f` (the format of `-`).
    overwrite, skip_existing  what to do with outputs that exist; neither = OutputExistsError.
    models      folder, "tiny", or None for the job's or the usual places.
    device      "auto", "cpu", "cuda", "cuda:N"; dtype "auto", "float32", "bfloat16".
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
    latents: Path | None = None
    preview: Path | None = None
    metadata: bool = True
    force: bool = False
    deterministic: bool = False


class Stop(Protocol):
    def check(self) -> None:
        """Called between chunks: raises Interrupted or TimeLimitError when the render should end here."""
        ...


def render_job(job: Job, job_stem: str, options: RenderOptions, report: Report, stop: Stop) -> Finished:
    """Render one job; returns the terminal event, which has been reported too. Errors are those of `errors`."""
    raise NotImplementedError
