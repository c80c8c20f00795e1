"""`plan`, `schema`, `info` and `init`: what goes to standard output as a text."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from scope_batch.cli.job_argument import read_job, stem_of
from scope_batch.cli.places import check_pattern, fill
from scope_batch.cli.showing import Showing
from scope_batch.errors import EXIT_CHECK_FAILED, EXIT_OK, ClosedPipeError, OutputError, OutputExistsError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text as RichText

    from scope_batch.chunk import Plan
    from scope_batch.job import Job
    from scope_batch.job.template import Clip
    from scope_batch.sinks.output import Output

PIPED_COLUMNS = 120
"""Width of tables that no terminal shows, unless COLUMNS says otherwise."""


def print_plan(
    argument: str,
    overrides: Sequence[str],
    models: str | None = None,
    *,
    paths: Sequence[str] = (),
    stdout_format: str | None = None,
    as_json: bool = False,
    strict: bool = False,
) -> int:
    """Print the plan of a job, written to `paths` if there are any; returns the exit code."""
    from scope_batch.prepare import outputs_of, plan_document, prepare, unused_by_outputs

    job = read_job(argument, overrides, models)
    paths = [fill(path, job, stem_of(argument)) for path in paths]
    plan, outputs = prepare(job), outputs_of(job, paths, stdout_format, stem_of(argument))
    plan = replace(plan, warnings=(*plan.warnings, *unused_by_outputs(job, outputs, paths)))
    _check_material(plan)
    if as_json:
        print_json(plan_document(job, plan, outputs))
    else:
        from scope_batch.plan.table import render_plan

        _print_rich(*render_plan(plan, [*_written(job, outputs)]).renderables)
    return EXIT_CHECK_FAILED if strict and plan.warnings else EXIT_OK


def _written(job: Job, outputs: Sequence[Output]) -> Iterator[RichText]:
    """What is written and, where the job departs from the defaults, what the engine is loaded with."""
    from rich.text import Text

    def settings(output: Output) -> str:
        if output.options is None:
            return output.name
        options = output.options
        crf = "" if options.crf is None else f"crf {options.crf:g}"
        told = ", ".join(part for part in (options.codec, crf, options.preset, options.pix_fmt) if part)
        return f"{output.name} ({told})"

    sound = "" if job.audio == "none" else f", sound from {'the input' if job.audio == 'input' else job.audio.name}"
    yield Text(f"output: {', '.join(map(settings, outputs))}{sound}", style="dim")
    names = ("vae_type", "vae_dtype", "quantization", "noise_device")
    chosen = [
        f"{name} {getattr(job, name)}" for name in names if getattr(job, name) != type(job).model_fields[name].default
    ]
    if chosen:
        yield Text(f"engine: {', '.join(chosen)}", style="dim")


def _check_material(plan: Plan) -> None:
    """What a render would refuse before anything loads: damaged control."""
    if plan.placements or any(chunk.vace is not None for chunk in plan.chunks):
        from scope_batch.media.material import check_material  # numpy, which a job without inputs does not need

        check_material(plan)


def print_plans(
    arguments: Sequence[str],
    overrides: Sequence[str],
    models: str | None,
    showing: Showing,
    paths: Sequence[str] = (),
    stdout_format: str | None = None,
) -> int:
    """Print the plans of several jobs; one that fails does not stop the others. Returns the first failure's code."""
    for path in paths:
        check_pattern("-o", path, len(arguments))
    codes = []
    for argument in arguments:
        with showing.boundary(argument) as boundary:
            if len(arguments) > 1:
                print_text(f"{argument}\n")
            print_plan(argument, overrides, models, paths=paths, stdout_format=stdout_format)
        codes.append(boundary.exit_code)
    return next((code for code in codes if code), EXIT_OK)


def print_info(file: Path, *, as_json: bool) -> None:
    """Print the job that a rendered file carries, with every value in force; it is a job file again."""
    from scope_batch.sinks.metadata import read_carried_job

    job, defaults = read_carried_job(file)
    if as_json:
        print_json(job | defaults)
        return
    import yaml

    parts = [yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=120) for part in (job, defaults) if part]
    print_text("# The job left the following to their defaults.\n".join(parts))


def print_schema() -> None:
    from scope_batch.job.json_schema import job_json_schema

    print_json(job_json_schema())


def write_template(clip: Path | None, output: Path | None, *, overwrite: bool) -> None:
    """A commented job, fitted to `clip` if there is one, on standard output or in `output`."""
    from scope_batch.job.template import job_template

    stem = output.stem if output else "job"
    text = job_template(_clip(clip, output.parent if output else Path()) if clip else None, stem=stem)
    write_text(text, output, overwrite=overwrite)


def write_text(text: str, output: Path | None, *, overwrite: bool) -> None:
    """To standard output, or to a file. Raises OutputExistsError if that exists and may not be replaced."""
    if output is None:
        print_text(text)
        return
    try:
        with output.open("w" if overwrite else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise OutputExistsError(f"{output} exists; -y replaces it") from error
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror}") from error


def _clip(path: Path, folder: Path) -> Clip:
    """The clip's facts, its path as a job in `folder` has to write it."""
    from scope_batch.job.template import Clip
    from scope_batch.media.probe import probe_clip

    facts = probe_clip(path)
    written = str(path) if path.is_absolute() else os.path.relpath(path, folder)
    return Clip(
        path=written,
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        fps=facts.fps,
        notes=(*facts.notes, *facts.warnings),
    )


def print_json(values: Any) -> None:
    print_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def print_lines(lines: Iterable[RichText]) -> None:
    """Each as one line, however long, so that a search finds whole paths."""
    _print_rich(*lines, whole_lines=True)


def _print_rich(*parts: RenderableType, whole_lines: bool = False) -> None:
    from rich.console import Console
    from rich.text import Text

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_COLUMNS
    console = Console(width=width, highlight=False, emoji=False)
    with console.capture() as shown:  # rich answers a closed pipe with an exit of its own
        for part in parts:
            console.print(part, soft_wrap=whole_lines or (width is not None and isinstance(part, Text)))
    print_text(shown.get())


def print_text(text: str) -> None:
    """Raises ClosedPipeError, without a word to say, when nobody reads standard output any more."""
    stdout = cast("TextIO | None", sys.stdout)
    if stdout is None:
        raise OutputError("standard output is closed")
    try:
        stdout.write(text)
        stdout.flush()
    except BrokenPipeError as error:
        raise ClosedPipeError from error
