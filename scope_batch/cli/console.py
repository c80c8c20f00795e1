"""Chooses where the progress, errors and notes of a command go, and in which form."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from scope_batch.cli.annotations import annotation
from scope_batch.cli.error_boundary import Boundary, ErrorReport
from scope_batch.errors import OutputError, OutputExistsError
from scope_batch.progress import (
    LONE_JOB,
    Batch,
    Display,
    JsonLines,
    Reporter,
    Style,
    TolerantStream,
    displays,
    resolved,
)


def print_errors(stream: TolerantStream, report: ErrorReport) -> None:
    """Print a report as plain lines."""
    for line in report.lines:
        stream.line(f"error: {line}")
        if command := annotation(line):
            stream.line(command)


@dataclass(frozen=True, slots=True)
class CommandConsole:
    """Shows progress and errors in `style` on `stream` (standard error), and as JSON lines in `file`.

    `origin_s`: time zero of the JSON lines, as time.monotonic() gives it. `row`: makes the display of a job that shares
    a table with others.
    """

    style: Style
    stream: TolerantStream
    file: TolerantStream | None = None
    verbose: bool = False
    origin_s: float = field(default_factory=time.monotonic)
    row: Callable[[str], Display] | None = None

    @contextmanager
    def board(self, jobs: int) -> Iterator[CommandConsole]:
        """Return a console for `jobs` jobs of which several run at a time: on a terminal, they share one table."""
        if resolved(self.style, self.stream, os.environ) != "rich":
            yield self
            return
        from scope_batch.progress.board import Board  # importing rich.live is slow

        with Board(self.stream, jobs, forced=self.style == "rich") as board:
            yield replace(self, stream=board.above, row=board.row)

    def reporter(self, job: str, batch: Batch = LONE_JOB) -> Reporter:
        shown = [*displays(self.style, self.stream, job, self.origin_s)] if self.row is None else [self.row(job)]
        if self.file:
            shown.append(JsonLines(self.file, job, self.origin_s))
        return Reporter(shown, batch=batch)

    def boundary(self, job: str) -> Boundary:
        """Report the errors of one job, as JSON where progress is JSON, so that every line can be parsed."""

        def print_report(report: ErrorReport) -> None:
            values = {
                "t": round(time.monotonic() - self.origin_s, 3),
                "job": job,
                "event": "error",
                "exit_code": report.exit_code,
                "message": "\n".join(report.lines),
            }
            line = json.dumps(values, separators=(",", ":"))
            if self.file:
                self.file.line(line)
            if self.style == "json":
                self.stream.line(line)
            else:
                print_errors(self.stream, report)

        return Boundary(print_report, verbose=self.verbose)

    def warn(self, text: str) -> None:
        """Print a warning that is not about one render, unless only errors are shown."""
        values = {"t": round(time.monotonic() - self.origin_s, 3), "event": "warning", "message": text}
        line = json.dumps(values, separators=(",", ":"))
        if self.file:
            self.file.line(line)
        if self.style != "none":
            self.stream.line(line if self.style == "json" else f"warning: {text}")

    def remark(self, text: str) -> None:
        """Print a line between jobs, unless progress is JSON or off."""
        if self.style not in ("json", "none"):
            self.stream.line(text)


def _may_be_replaced(path: Path) -> bool:
    """Return True for a new path, a device or pipe, an empty file, and progress lines of an earlier render."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    try:
        return not first or "event" in json.loads(first)
    except (ValueError, TypeError, RecursionError):
        return False


@contextmanager
def open_console(style: Style, progress_file: Path | None, *, verbose: bool) -> Iterator[CommandConsole]:
    """Open the console of a verb. Raises OutputExistsError if `progress_file` is a file of another kind, OutputError if
    it cannot be opened. If writing it fails later, the render goes on without it."""
    stream = TolerantStream(sys.stderr)
    if progress_file is None:
        yield CommandConsole(style, stream, verbose=verbose)
        return
    try:
        if not _may_be_replaced(progress_file):
            raise OutputExistsError(
                f"--progress-file {progress_file}: exists and is not a progress file; name another file"
            )
        opened = progress_file.open("w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--progress-file {progress_file}: {error.strerror}") from error
    file = TolerantStream(opened)
    try:
        yield CommandConsole(style, stream, file, verbose)
    finally:
        file.close()
        if file.failure:
            stream.line(f"warning: --progress-file {progress_file} is incomplete: {file.failure.strerror}")
