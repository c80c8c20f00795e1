"""`plan`, `schema`, `info` and `init`: what goes to standard output as a text."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast
from unicodedata import category

from scope_batch.cli.job_argument import RENDERED
from scope_batch.errors import ClosedPipeError, JobError, OutputError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text as RichText

    from scope_batch.job.template import Clip

PIPED_COLUMNS = 120
"""Width of tables that no terminal shows, unless COLUMNS says otherwise."""


def print_info(file: Path, *, as_json: bool) -> None:
    """Print the job that a rendered file carries, with every value in force; it is a job file again."""
    if file.suffix.lower() not in RENDERED:
        allowed = " ".join(sorted(RENDERED))
        raise JobError(f"{file}: is no rendered file ({allowed}); scope-batch plan shows what a job file does")
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
    for path in filter(None, (clip, output)):
        if any(category(character) == "Cs" for character in str(path)):
            raise UsageError(f"{path}: the name is not UTF-8 text, so no job file can hold it; rename the file")
    text = job_template(_clip(clip, output.parent if output else Path()) if clip else None, stem=stem)
    write_text(text, output, overwrite=overwrite)


def write_text(text: str, output: Path | None, *, overwrite: bool) -> None:
    """To standard output, or to a file. Raises OutputExistsError if that exists and may not be replaced."""
    if output is None:
        print_text(text)
        return
    from scope_batch.sinks.work_folder import make_folders

    try:
        make_folders(output.parent)
        with output.open("w" if overwrite else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise OutputExistsError(f"{output} exists; -y replaces it") from error
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror}") from error


def _clip(path: Path, folder: Path) -> Clip:
    """The clip's facts, its path as a job in `folder` has to write it."""
    from scope_batch.job.template import Clip
    from scope_batch.media.validate import probe_whole_clip

    facts = probe_whole_clip(path)
    varies = facts.timing is not None and facts.timing.fps is None
    written = str(path) if path.is_absolute() else os.path.relpath(path, folder)
    return Clip(
        path=written,
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        fps=facts.fps,
        notes=(*facts.notes, *facts.warnings),
        mean_fps=facts.timing.mean_fps if facts.timing is not None and varies else None,
    )


def print_json(values: Any) -> None:
    print_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def print_lines(lines: Iterable[RichText]) -> None:
    """Each as one line, however long, so that a search finds whole paths."""
    print_rich(*lines, whole_lines=True)


def print_rich(*parts: RenderableType, whole_lines: bool = False) -> None:
    from rich.console import Console
    from rich.text import Text

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_COLUMNS
    console = Console(width=width, highlight=False, emoji=False)
    with console.capture() as shown:  # rich answers a closed pipe with an exit of its own
        for part in parts:
            console.print(part, soft_wrap=whole_lines or (width is not None and isinstance(part, Text)))
    print_text(shown.get())


def print_text(text: str) -> None:
    """Raises ClosedPipeError with no message when standard output has been closed by its reader."""
    stdout = cast("TextIO | None", sys.stdout)
    if stdout is None:
        raise OutputError("standard output is closed")
    try:
        stdout.write(text)
        stdout.flush()
    except BrokenPipeError as error:
        raise ClosedPipeError from error
