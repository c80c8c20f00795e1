"""Measures one render of a job, through the same functions as `render`: loading, chunks, sinks, publication."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from scope_batch.bench.floor import chunk_work, peak_tflops, vae_work
from scope_batch.bench.profiler import ChunkProfiler, Profile
from scope_batch.bench.stage_clock import BETWEEN, WAITING, ChunkTimes, StageClock
from scope_batch.core.engine import Engine, ReproducibleEngine
from scope_batch.core.plan import Chunk, Plan
from scope_batch.engine.device import resolve_device
from scope_batch.engine.quantization import check_high_speed
from scope_batch.events import silent
from scope_batch.job import Job
from scope_batch.kernels import reason_against
from scope_batch.models.folder import find_models
from scope_batch.models.layout import is_known
from scope_batch.models.sizes import model_sizes
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.render import loop
from scope_batch.render.engine_pool import Engines, request_of
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import memory_under, prepare_job

PROFILED_CHUNKS = 2
"""Chunks at the end of a render that are profiled instead of timed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured render. Times of chunks and stages in milliseconds, others in seconds, memory in bytes.

    round             counts the repetitions, from 0.
    kernels           "auto" or "off", as asked; speed: the job's; environment: what ran.
    load_s            to load the engine; 0 if that of the run before serves.
    text_encoder_s    to load the text encoder, to encode and to allocate the caches; None: the prompts were cached.
    first_frame_s     from the start of the render, the engine being loaded, to the first chunk's frames on the host.
    render_s          from the first chunk to published outputs.
    chunk, fps        median of the measured chunks, of `frames` frames; spread: the fastest and the slowest.
    stages            median of each stage that occurred in most measured chunks.
    gap_share         share of the chunk from the end of its frames' copy to the next chunk's first stage: the GPU has
                      little or nothing to do.
    tflop             arithmetic by stage; peak_tflops: of the device, None if unknown or not in bfloat16.
    forecast_bytes    what `plan` forecasts; None without a forecast.
    """

    pipeline: str
    case: str
    width: int
    height: int
    kernels: str
    speed: str
    round: int
    output: str
    chunks: tuple[ChunkTimes, ...]
    measured: tuple[int, int]
    frames: int
    chunk: float
    spread: tuple[float, float]
    fps: float
    stages: dict[str, float]
    gap_share: float
    load_s: float
    text_encoder_s: float | None
    first_frame_s: float
    render_s: float
    peak_bytes: int
    forecast_bytes: int | None
    tflop: dict[str, float]
    peak_tflops: float | None
    environment: dict[str, str]
    reason_against_kernels: str | None
    profile: Profile | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Identifies the runs that can be compared."""
        return self.pipeline, self.case, f"{self.width}x{self.height}", self.kernels, self.speed

    @property
    def effective_tflops(self) -> float | None:
        return sum(self.tflop.values()) / self.chunk * 1000 if self.tflop else None

    @property
    def floor_share(self) -> float | None:
        """Least time for the arithmetic as a share of the time taken; None if the peak is unknown."""
        if self.effective_tflops is None or self.peak_tflops is None:
            return None
        return self.effective_tflops / self.peak_tflops

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"effective_tflops": self.effective_tflops, "floor_share": self.floor_share}


@dataclass(slots=True)
class Bench:
    """Measures jobs one after another; an engine that serves the next one stays loaded.

    warmup  chunks before the measured ones: kernels are compiled, the window fills, CUDA graphs are captured.
    """

    options: RenderOptions
    warmup: int
    output: str
    profile: bool
    folder: Path
    engines: Engines = field(default_factory=Engines)

    def check(self, job: Job) -> None:
        """Raise UnavailableError if `speed: high`, should the job ask for it, does not run on the device."""
        if job.speed == "high" and is_known(job.pipeline_id):
            check_high_speed(request_of(job, prepare_job(job), self.options), resolve_device(self.options.device))

    def release(self) -> None:
        """Free the device, for other processes."""
        self.engines = Engines()
        gc.collect()
        torch.cuda.empty_cache()

    def run(self, job: Job, case: str, kernels: str, round_: int) -> Run:
        """Render `job` and return what was measured. Raises what `render_job` raises."""
        options = replace(self.options, kernels=kernels, checkpoint_every=0)
        plan = prepare_job(job)
        cuda = resolve_device(options.device).type == "cuda"
        last = len(plan.chunks) - 1
        profiler = ChunkProfiler(last - PROFILED_CHUNKS + 1, last) if self.profile and cuda else None
        end = last - PROFILED_CHUNKS if profiler else last
        begin = min(self.warmup, max(end - 1, 0))
        began_s = time.monotonic()
        engine = self.engines.get(request_of(job, plan, options), silent)
        load_s = time.monotonic() - began_s
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        clock = StageClock(cuda=cuda, observers=(profiler,) if profiler else ())
        with TemporaryDirectory(dir=self.folder) as place:
            options = replace(options, outputs=(str(Path(place, f"out.{self.output}")),))
            finished = loop.render_job(job, "bench", options, clock, engines=self.engines)
        chunks = clock.chunks()
        measured = [times for times in chunks if begin <= times.chunk <= end]
        chunk_ms, frames = statistics.median(times.total for times in measured), measured[-1].frames
        stages = _medians(measured)
        memory, _ = memory_under(job, plan, options)
        environment = dict(engine.environment()) if isinstance(engine, ReproducibleEngine) else {}
        return Run(
            pipeline=plan.pipeline_id,
            case=case,
            width=plan.width,
            height=plan.height,
            kernels=kernels,
            speed=job.speed,
            round=round_,
            output=self.output,
            chunks=tuple(chunks),
            measured=(begin, end),
            frames=frames,
            chunk=chunk_ms,
            spread=(min(times.total for times in measured), max(times.total for times in measured)),
            fps=1000 * frames / chunk_ms,
            stages=stages,
            gap_share=(stages.get(BETWEEN, 0.0) + stages.get(WAITING, 0.0)) / chunk_ms,
            load_s=load_s,
            text_encoder_s=clock.text_encoder_s(),
            first_frame_s=clock.first_frame_s(),
            render_s=finished.render_s,
            peak_bytes=finished.peak_device_bytes,
            forecast_bytes=max(memory.peak, memory.prompts) if memory is not None and cuda else None,
            tflop=_tflop(job, plan, plan.chunks[end], options),
            peak_tflops=_peak(environment),
            environment=environment,
            reason_against_kernels=_reason(engine, options),
            profile=profiler.result if profiler else None,
        )


def _medians(measured: list[ChunkTimes]) -> dict[str, float]:
    names = dict.fromkeys(stage for times in measured for stage in times.stages)
    found = {stage: [times.stages[stage] for times in measured if stage in times.stages] for stage in names}
    return {stage: statistics.median(ms) for stage, ms in found.items() if 2 * len(ms) > len(measured)}


def _tflop(job: Job, plan: Plan, chunk: Chunk, options: RenderOptions) -> dict[str, float]:
    """Return the arithmetic of `chunk` by stage; empty for a pipeline whose networks are not known."""
    spec = KNOWN_PIPELINES.get(plan.pipeline_id)
    if not is_known(spec.id):
        return {}
    models = options.models or (None if job.models is None else str(job.models))
    vae_type, uses_vace = job.vae_type, any(c.vace is not None for c in plan.chunks)
    sizes = model_sizes(spec.id, models, vae_type, vace=uses_vace)
    if sizes is None:
        return {}
    files = find_models(spec.id, models, vae_type=vae_type)
    return chunk_work(plan, spec, chunk, sizes, vae_work(files, plan.height, plan.width)).stages


def _peak(environment: dict[str, str]) -> float | None:
    return peak_tflops(environment.get("device", "")) if environment.get("dtype") == "bfloat16" else None


def _reason(engine: Engine, options: RenderOptions) -> str | None:
    """Return why the program's own kernels do not run; None if they do."""
    if getattr(engine, "kernels", False):
        return None
    return "--kernels off" if options.kernels == "off" else reason_against(resolve_device(options.device))
