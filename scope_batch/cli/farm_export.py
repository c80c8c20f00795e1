"""`farm export`: writes jobs as files for a queue, a task for each job."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scope_batch.cli import arguments as o
from scope_batch.cli import device_options as d
from scope_batch.cli.console import open_console
from scope_batch.cli.documents import print_text, write_text
from scope_batch.cli.output_patterns import STDOUT, check_distinct
from scope_batch.errors import UsageError

if TYPE_CHECKING:
    from scope_batch.cli.queued_job import NamedJob, QueuedJob
    from scope_batch.job.faults import Loc
    from scope_batch.render.options import RenderOptions

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")


class Queue(StrEnum):
    """Mirrors `QUEUES`."""

    slurm = "slurm"
    kubernetes = "kubernetes"
    skypilot = "skypilot"
    openjd = "openjd"
    flamenco = "flamenco"
    opencue = "opencue"


To = Annotated[Queue, typer.Option("--to", help="Queue that the jobs are for.")]
ExportFolder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write the files to.")]
RenderOutputs = Annotated[
    list[str] | None,
    typer.Option("--render-output", metavar="OUT", help="As -o of render: replaces the outputs of the jobs."),
]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="Name of the batch; by default that of DIR.")]
Folder = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Where the machines of the queue have the folder in which this is called; by default at the same place.",
    ),
]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs of each job.")]
Replace = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace files that exist.")]


def export(
    jobs: o.JobArguments,
    to: To,
    output: ExportFolder,
    render_output: RenderOutputs = None,
    overrides: o.Overrides = None,
    sweep: o.Sweeps = None,
    models: d.Models = None,
    ledger: o.Ledger = None,
    name: Name = None,
    folder: Folder = None,
    gpus: Gpus = 1,
    overwrite: Replace = False,
) -> int:
    """Write jobs, and each job of their sweeps, as tasks for a queue. A render is never split."""
    from scope_batch.farm.export import QUEUES, Batch
    from scope_batch.render.options import RenderOptions

    batch_name = name or output.absolute().name.lower()
    if not _NAME.fullmatch(batch_name):
        raise UsageError(
            f"--name {batch_name}: must be 1 to 52 lower-case letters, digits and -, neither first nor last a -"
        )
    shared = folder or str(Path.cwd())
    exported = os.path.normpath(Path(shared) / output)
    for option, path in (("--folder", shared), ("-o", exported)):
        if not Path(path).is_absolute() or re.search(r"[\s'\"%#]", path):
            raise UsageError(
                f"{option} {path}: must be absolute, without spaces, quotes, % and #, as every queue takes it"
            )
    options = RenderOptions(outputs=tuple(render_output or ()), models=models)
    with open_console("none", None, verbose=False) as console:
        queued: list[QueuedJob] = []
        codes = []
        for position, job in enumerate(_named(jobs, overrides or (), sweep or (), options), 1):
            with console.boundary(job.label) as boundary:
                queued.append(job.queued(position, options))
            codes.append(boundary.exit_code)
    if any(codes):
        return next(code for code in codes if code)
    check_distinct([each.named_outputs for each in queued])
    for each in queued:
        if STDOUT in each.films:
            raise UsageError(
                f"{each.argument}: writes to standard output, which no queue keeps; --render-output names a file"
            )
    common = [word for text in overrides or () for word in ("--set", text)]
    common += [word for pattern in render_output or () for word in ("-o", pattern)]
    common += ["--models", models] if models else []
    common += ["--ledger", str(ledger)] if ledger else []
    batch = Batch(
        name=batch_name,
        labels=tuple(" ".join(each.argument.split()) for each in queued),
        commands=tuple(
            ("scope-batch", "render", each.file, *_sweep_words(each, sweep or ()), *common, *_ALWAYS) for each in queued
        ),
        folder=shared,
        export=exported,
        gpus=gpus,
    )
    written = QUEUES[to](batch)
    for file in written.files:
        write_text(file.text, output / file.name, overwrite=overwrite)
        print_text(f"wrote {output / file.name}\n")
    print_text(f"{batch.jobs} jobs; to submit: {written.submit}\n")
    return 0


_ALWAYS = ("--resume", "--progress", "plain")
"""--resume: a job may go on on another machine."""


def _named(
    jobs: Sequence[str], overrides: Sequence[str], sweeps: Sequence[str], options: RenderOptions
) -> list[NamedJob]:
    from scope_batch.cli.queued_job import name_jobs

    if STDOUT in jobs:
        raise UsageError("- (standard input): a queue reads its jobs later, from files")
    return name_jobs(jobs, overrides, sweeps, options)


def _sweep_words(job: QueuedJob, sweeps: Sequence[str]) -> list[str]:
    """Return the options that make a sweep this one of its jobs: every key with its value alone."""
    given = {sweep.partition("=")[0] for sweep in sweeps}
    words = []
    for key, value in job.swept.items():
        text = value if key in given else _from_here(key, value, Path(job.file).parent)
        words += ["--sweep", f"{key}={json.dumps([text], ensure_ascii=False)}"]
    return words


def _from_here(key: str, value: Any, folder: Path) -> Any:
    """Return a value of a job file with its input paths relative to the working directory, as --sweep takes them."""
    from scope_batch.job.overrides import parse_key
    from scope_batch.job.paths import field_of, with_paths

    def path(text: str, _name: str, _loc: Loc) -> str:
        return text if text.startswith("~") else str(folder / text)

    loc = parse_key(key)
    return with_paths(value, field_of(loc), loc, path)
