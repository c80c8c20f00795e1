"""Measures whole `render` commands in processes of their own: from their start to the first frames and to the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scope_batch.errors import UnavailableError
from scope_batch.job import Job
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.render.options import RenderOptions


@dataclass(frozen=True, slots=True)
class Command:
    """One `render` command; seconds from its start.

    name       "cold": neither kernels nor prompts are in the caches; "warm": both are; "end to end": as warm.
    started_s  everything was loaded, the first chunk was next. whole_s: the process had ended.
    fps        of the frames, from `started_s` to published outputs.
    """

    name: str
    pipeline: str
    case: str
    width: int
    height: int
    frames: int
    output: str
    started_s: float
    finished_s: float
    whole_s: float

    @property
    def fps(self) -> float:
        return self.frames / (self.finished_s - self.started_s)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"fps": self.fps}


def first_frames(job: Job, case: str, options: RenderOptions, folder: Path) -> list[Command]:
    """Render the first chunk of `job` twice, at first with an empty folder for compiled kernels."""
    spec = KNOWN_PIPELINES.get(job.pipeline_id)
    frames = spec.chunk_frames("video" if job.input_path else "text", first=True)
    with TemporaryDirectory(dir=folder) as place:
        environment = {"TRITON_CACHE_DIR": place}
        prompt = f"a new prompt, {time.time_ns()}"
        return [
            command(name, job, case, options, folder, frames=frames, output="npy", prompt=prompt, also=environment)
            for name in ("cold", "warm")
        ]


def command(
    name: str,
    job: Job,
    case: str,
    options: RenderOptions,
    folder: Path,
    *,
    frames: int,
    output: str,
    prompt: str | None = None,
    also: dict[str, str] | None = None,
) -> Command:
    """Run `render` with `frames` frames. Raises UnavailableError with the last error of a command that fails.

    prompt  replaces the job's; its changes are left out. also: variables of the environment.
    """
    spec = KNOWN_PIPELINES.get(job.pipeline_id)
    fields = job.model_dump(mode="json", exclude_defaults=True, exclude={"output"}) | {"num_frames": frames}
    if prompt is not None:
        fields = {key: value for key, value in fields.items() if key != "chunk_specs"} | {"prompt": prompt}
    with TemporaryDirectory(dir=folder) as place:
        job_file = Path(place, "job.json")
        job_file.write_text(json.dumps(fields), encoding="utf-8")
        words = [sys.executable, "-m", "scope_batch", "render", str(job_file), "-o", str(Path(place, f"out.{output}"))]
        words += [*_option_words(options), "--progress", "json", "--checkpoint-every", "0"]
        began_s = time.monotonic()
        reached: dict[str, float] = {}
        errors: list[str] = []
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, **(also or {})}) as child:
            assert child.stderr is not None
            for line in child.stderr:
                event = json.loads(line) if line.startswith("{") else {"event": "other", "message": line}
                reached[event["event"]] = time.monotonic() - began_s
                if event["event"] in ("error", "other"):
                    errors.append(str(event["message"]).strip())
        if child.returncode:
            raise UnavailableError(f"render ended with {child.returncode}: {errors[-1] if errors else 'no message'}")
    return Command(
        name=name,
        pipeline=spec.id,
        case=case,
        width=job.width or spec.width,
        height=job.height or spec.height,
        frames=frames,
        output=output,
        started_s=reached["started"],
        finished_s=reached["finished"],
        whole_s=time.monotonic() - began_s,
    )


def _option_words(options: RenderOptions) -> list[str]:
    words = ["--device", options.device, "--dtype", options.dtype, "--low-vram", options.low_vram]
    words += ["--kernels", options.kernels]
    return words + (["--models", options.models] if options.models is not None else [])
