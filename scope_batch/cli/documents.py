"""Prints texts, tables and JSON to standard output, and runs `schema`, `info` and `init`."""

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
"""Width of tables that do not go to a terminal, unless COLUMNS sets another."""


def print_info(argument: str, *, as_json: bool, full: bool = False) -> None:
    """Print the job stored in a rendered file, with its defaults; the text is a valid job file.

    What else made the file (versions, machine, checksums) follows as comments. full: as JSON, print all metadata.
    """
    if full and not as_json:
        raise UsageError("--full belongs to --json; the text tells everything in its comments")
    if Path(argument).suffix.lower() not in RENDERED:
        allowed = " ".join(sorted(RENDERED))
        raise JobError(f"{argument}: is not a rendered file ({allowed}); scope-batch plan shows what a job file does")
    from scope_batch.sinks.metadata import carried_job, read_metadata
    from scope_batch.storage.fetch import fetch_argument

    file = Path(fetch_argument(argument))
    document = read_metadata(file)
    job, defaults = carried_job(document, file)
    if as_json:
        print_json(document if full else job | defaults)
        return
    import yaml

    def text(part: Any) -> str:
        written: str = yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=120)
        return written

    parts = [text(part) for part in (job, defaults) if part]
    rest = {name: value for name, value in document.items() if name not in ("job", "defaults")}
    made_by = "".join(f"#   {line}\n" for line in text(rest).splitlines())
    print_text(
        "# The job left the following to their defaults.\n".join(parts) + f"# What else made the file:\n{made_by}"
    )


def print_schema() -> None:
    from scope_batch.job.json_schema import job_file_schema

    print_json(job_file_schema())


def write_template(clip: Path | None, output: Path | None, *, overwrite: bool) -> None:
    """Write a commented job, fitted to `clip` if there is one, to `output` or to standard output."""
    from scope_batch.job.template import job_template

    stem = output.stem if output else "job"
    for path in filter(None, (clip, output)):
        if any(category(character) == "Cs" for character in str(path)):
            raise UsageError(f"{path}: the name is not UTF-8 text, so no job file can hold it; rename the file")
    text = job_template(_clip(clip, output.parent if output else Path()) if clip else None, stem=stem)
    write_text(text, output, overwrite=overwrite)


def write_text(text: str, output: Path | None, *, overwrite: bool) -> None:
    """Write to a file, or to standard output. Raises OutputExistsError if the file exists and may not be replaced."""
    if output is None:
        print_text(text)
        return
    from scope_batch.files.access import make_folders

    try:
        make_folders(output.parent)
        with output.open("w" if overwrite else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise OutputExistsError(f"{output} exists; -y replaces it") from error
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror}") from error


def _clip(path: Path, folder: Path) -> Clip:
    """Probe a clip. Its path is relative to `folder`, where the job file will be."""
    from scope_batch.job.template import Clip
    from scope_batch.media.validate import probe_whole_clip

    facts = probe_whole_clip(path)
    varies = facts.timing is not None and facts.timing.fps is None
    job_path = str(path) if path.is_absolute() else os.path.relpath(path, folder)
    return Clip(
        path=job_path,
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
    """Print each text as one line, however long, so that a search finds whole paths."""
    print_rich(*lines, whole_lines=True)


def print_rich(*parts: RenderableType, whole_lines: bool = False) -> None:
    from rich.console import Console
    from rich.text import Text

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_COLUMNS
    console = Console(width=width, highlight=False, emoji=False)
    with console.capture() as shown:  # on a closed pipe, rich would exit the process itself
        for part in parts:
            console.print(part, soft_wrap=whole_lines or (width is not None and isinstance(part, Text)))
    print_text(shown.get())


def print_text(text: str) -> None:
    """Write to standard output. Raises ClosedPipeError with no message when its reader has closed it."""
    stdout = cast("TextIO | None", sys.stdout)
    if stdout is None:
        raise OutputError("standard output is closed")
    try:
        stdout.write(text)
        stdout.flush()
    except BrokenPipeError as error:
        raise ClosedPipeError from error
