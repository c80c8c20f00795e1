"""`import`: converts an export of Scope to a job file; its notes go to standard error."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

from scope_batch.cli.documents import write_text
from scope_batch.errors import MissingInputError, UsageError
from scope_batch.progress import TolerantStream

STDIN = "-"


def import_file(argument: str, output: Path | None, *, fps: str, overwrite: bool) -> None:
    """Convert an export to a job. Raises JobError if it is not an export, MissingInputError if it cannot be read."""
    from scope_batch.importing import import_export

    rate = _rate(fps)
    folder = output.absolute().parent if output else Path.cwd()
    imported = import_export(_read(argument), name="stdin" if argument == STDIN else argument, fps=rate, folder=folder)
    write_text(imported.text, output, overwrite=overwrite)
    stderr = TolerantStream(sys.stderr)
    for line in imported.notes:
        stderr.line(line)


def _rate(text: str) -> Fraction:
    from pydantic_core import PydanticCustomError

    from scope_batch.job.scalars import parse_rate

    try:
        return parse_rate(text)
    except PydanticCustomError as error:
        raise UsageError(f"--fps {text}: {error.message()}") from error


def _read(argument: str) -> bytes:
    from scope_batch.importing.formats import MAX_BYTES

    if argument == STDIN:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with Path(argument).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise MissingInputError(f"{argument}: no such file") from error
    except OSError as error:
        raise MissingInputError(f"{argument}: cannot be read: {error.strerror}") from error
