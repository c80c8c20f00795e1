"""`bench`: measures renders on this machine and prints their figures."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scope_batch.cli import arguments as o
from scope_batch.cli import device_options as d
from scope_batch.cli.console import open_console
from scope_batch.cli.environment import prepare_libraries
from scope_batch.cli.measurements import Measurements
from scope_batch.cli.values import check_device, refuse_both
from scope_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scope_batch.job import Job

_WHAT, _HOW = "What", "How"


class BenchOutput(StrEnum):
    mp4 = "mp4"
    npy = "npy"


BenchJob = Annotated[
    str | None, typer.Argument(metavar="[JOB]", help="A job to measure; without one, the cases of --cases.")
]
Random = Annotated[
    bool,
    typer.Option(
        "--random",
        help="Random numbers in networks of the published sizes, in place of model files.",
        rich_help_panel=_WHAT,
    ),
]
Pipeline = Annotated[
    str | None, typer.Option(metavar="ID[,ID ...]", help="Pipelines; longlive by default.", rich_help_panel=_WHAT)
]
Sizes = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH[,WxH ...]", help="Sizes in pixels; 832x480 by default.", rich_help_panel=_WHAT),
]
Cases = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[,NAME ...]",
        help="text (default), switch, video, vace, vace-mask, lora-merged, lora-branch.",
        rich_help_panel=_WHAT,
    ),
]
Chunks = Annotated[int, typer.Option(min=2, max=10_000, help="Chunks of each render.", rich_help_panel=_HOW)]
Warmup = Annotated[int, typer.Option(min=0, help="How many of them are not measured.", rich_help_panel=_HOW)]
KernelsChoice = Annotated[
    str,
    typer.Option(
        metavar="auto|off|auto,off", help="As for render; auto,off measures both in turns.", rich_help_panel=_HOW
    ),
]
SpeedChoice = Annotated[
    str | None,
    typer.Option(
        metavar="exact|high|exact,high",
        help="In place of the job's field speed; exact,high measures both in turns.",
        rich_help_panel=_HOW,
    ),
]
Repeat = Annotated[
    int, typer.Option(min=1, max=1000, help="Measure everything so often, in turns.", rich_help_panel=_HOW)
]
Profiling = Annotated[
    bool,
    typer.Option(
        "--profile", help="Count launches, waits and idle time in the last two chunks (CUDA).", rich_help_panel=_HOW
    ),
]
StartTime = Annotated[
    bool,
    typer.Option(
        "--start",
        help="Also measure how long a new process takes to the first frames, with the first of --kernels and --speed.",
        rich_help_panel=_HOW,
    ),
]
EndToEnd = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1_000_000,
        metavar="FRAMES",
        help="Also measure a whole render command of so many frames, with the first of --kernels and --speed.",
        rich_help_panel=_HOW,
    ),
]
To = Annotated[BenchOutput, typer.Option(help="What is written while measuring.", rich_help_panel=_HOW)]
Against = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Compare with figures that an earlier bench wrote.", rich_help_panel=_HOW),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=100,
        metavar="PERCENT",
        help="With --against: exit with 1 if frames per second fell by more.",
        rich_help_panel=_HOW,
    ),
]
Figures = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Also write all figures as JSON to a file.")
]


def bench(
    context: typer.Context,
    job: BenchJob = None,
    random: Random = False,
    pipeline: Pipeline = None,
    size: Sizes = None,
    cases: Cases = None,
    overrides: o.Overrides = None,
    chunks: Chunks = 28,
    warmup: Warmup = 14,
    kernels: KernelsChoice = "auto",
    speed: SpeedChoice = None,
    repeat: Repeat = 1,
    profile: Profiling = False,
    start: StartTime = False,
    end_to_end: EndToEnd = None,
    to: To = BenchOutput.mp4,
    against: Against = None,
    tolerance: Tolerance = None,
    output: Figures = None,
    overwrite: o.ReplaceTemplate = False,
    as_json: o.AsJson = False,
    models: d.Models = None,
    device: d.Device = "auto",
    dtype: d.DtypeOption = d.Dtype.auto,
    low_vram: d.LowVramOption = d.LowVram.auto,
    verbose: o.Verbose = False,
) -> int:
    """Measure how fast this machine renders: a job, or built-in cases."""
    if job is not None and (named := [f"--{n}" for n, v in _of_cases(pipeline, size, cases).items() if v is not None]):
        raise UsageError(f"{named[0]} belongs to the built-in cases; --set changes a job")
    if tolerance is not None and against is None:
        raise UsageError("--tolerance needs --against")
    refuse_both("--random", random, "--models", models is not None)
    if warmup >= chunks:
        raise UsageError(f"--warmup {warmup}: must be less than --chunks {chunks}")
    variants = _words("--kernels", kernels, ("auto", "off"))
    speeds = _words("--speed", speed, ("exact", "high")) if speed is not None else [None]
    if "high" in speeds and "off" in variants:
        raise UsageError("--speed high needs --kernels auto")
    earlier = _earlier(against)
    check_device(device)
    context.obj.verbose = verbose
    prepare_libraries(verbose=verbose, deterministic=False)
    from scope_batch.bench.measure import Bench
    from scope_batch.models.folder import RANDOM
    from scope_batch.render.options import RenderOptions

    chosen = RANDOM if random else models
    options = RenderOptions(models=chosen, device=device, dtype=dtype.value, low_vram=low_vram.value)
    with tempfile.TemporaryDirectory() as place, open_console("plain", None, verbose=verbose) as console:
        measuring = Bench(options, warmup, to.value, profile, Path(place))

        def at(chosen_speed: str | None) -> list[tuple[str, Job]]:
            changed = [*(overrides or ()), *([f"speed={chosen_speed}"] if chosen_speed else [])]
            if job is not None:
                return [("job", _read_job(job, changed, chosen))]
            return _cases(pipeline, size, cases, chosen, chunks, warmup, Path(place), changed)

        by_speed = [at(chosen_speed) for chosen_speed in speeds]
        for _, loaded in chain(*by_speed):  # before another one is measured for minutes
            measuring.check(loaded)
        measurements = Measurements(measuring, console, output)
        measurements.write(overwrite=overwrite)
        for same_case in zip(*by_speed, strict=True):
            for number in range(repeat):
                for variant in variants:
                    for name, loaded in same_case:
                        measurements.run(name, loaded, variant, number)
        if start or end_to_end is not None:
            measuring.release()
            for name, loaded in by_speed[0]:
                measurements.run_commands(name, loaded, replace(options, kernels=variants[0]), start, end_to_end)
    measurements.show(earlier, as_json=as_json)
    return measurements.exit_code or measurements.compare(earlier, tolerance)


def _of_cases(pipeline: str | None, size: str | None, cases: str | None) -> dict[str, str | None]:
    return {"pipeline": pipeline, "size": size, "cases": cases}


def _earlier(against: Path | None) -> dict[tuple[str, ...], float]:
    if against is None:
        return {}
    from scope_batch.bench.comparison import read_earlier

    return read_earlier(against)


def _read_job(argument: str, overrides: Sequence[str], models: str | None) -> Job:
    from scope_batch.cli.job_argument import read_job

    return read_job(argument, overrides, models)


def _cases(
    pipeline: str | None,
    size: str | None,
    cases: str | None,
    models: str | None,
    chunks: int,
    warmup: int,
    folder: Path,
    overrides: Sequence[str],
) -> list[tuple[str, Job]]:
    """Return the jobs of all cases; those that can share an engine follow each other."""
    from scope_batch.bench.cases import CASES, case_job
    from scope_batch.models import layout
    from scope_batch.pipelines import PIPELINES

    known = [name for name in PIPELINES if layout.is_known(name)]
    pipelines = _words("--pipeline", pipeline or "longlive", known)
    names = _words("--cases", cases or "text", tuple(CASES))
    return [
        (
            name,
            case_job(
                name,
                pipeline_id=pipeline_id,
                models=models,
                height=height,
                width=width,
                chunks=chunks,
                warmup=warmup,
                folder=folder,
                overrides=overrides,
            ),
        )
        for pipeline_id in pipelines
        for name in names
        for width, height in _sizes(size or "832x480")
    ]


def _words(option: str, text: str, allowed: Sequence[str]) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in allowed:
            raise UsageError(f"{option} {word}: not known; allowed: {', '.join(allowed)}, or several with commas")
    return list(dict.fromkeys(words))


def _sizes(text: str) -> list[tuple[int, int]]:
    sizes = []
    for word in text.split(","):
        match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", word.strip())
        if match is None:
            raise UsageError(f"--size {word}: not a size; allowed: WIDTHxHEIGHT as in 832x480, or several with commas")
        sizes.append((int(match[1]), int(match[2])))
    return sizes
