"""Turns every exception into error lines and an exit code. No other module does."""

from __future__ import annotations

import errno
import os
import platform
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from unicodedata import category

import typer
from typer._click.exceptions import NoSuchOption

from scope_batch import __version__
from scope_batch.errors import (
    EXIT_BUG,
    ClosedPipeError,
    Interrupted,
    MissingInputError,
    OutputError,
    ScopeBatchError,
    TemporaryError,
)
from scope_batch.files.urls import with_urls, without_secrets

_MACHINE_ERRORS = frozenset(
    (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE)
)
"""System errors of the disk or its permissions."""
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN))
"""System errors of exhausted files, memory or processes."""
_OUT_OF_MEMORY = ("failed to map segment from shared object", "Cannot allocate memory", "can't start new thread")
"""Parts of the messages with which libraries report that memory or threads are exhausted."""
_PATH_ERRORS = frozenset((errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV))
"""System errors of a path that the user has named. Any other uncaught OSError is a bug of this program."""
MAX_WORD = 300
"""Characters of one word, such as a path, in a line. A longer word loses its middle."""
_ESCAPED = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, lone surrogates (undecodable bytes), line and paragraph separators."""
_LONG_WORD = re.compile(rf"\S{{{MAX_WORD + 1},}}")


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Exit code and error lines. `lines` is empty when standard output has lost its reader."""

    exit_code: int
    lines: tuple[str, ...]

    def readable(self) -> ErrorReport:
        """Return a copy with URLs in place of local copies, secrets hidden, control characters and undecodable bytes
        escaped, and long words shortened."""
        return replace(self, lines=tuple(map(_readable, self.lines)))


def _readable(line: str) -> str:
    line = without_secrets(with_urls(line))
    shortened = _LONG_WORD.sub(lambda word: f"{word[0][:120]}...{word[0][-120:]}", line)
    return "".join(
        character.encode("unicode_escape").decode("ascii") if category(character) in _ESCAPED else character
        for character in shortened
    )


def report_on(error: BaseException) -> ErrorReport | None:
    """Return the report of an exception that a user or the machine can cause, None for a bug."""
    match error:
        case ScopeBatchError():
            return ErrorReport(error.exit_code, _with_notes(error))
        case typer.TyperException():
            return ErrorReport(error.exit_code, _usage(error))
        case typer.Abort() | KeyboardInterrupt():
            return ErrorReport(128 + signal.SIGINT, ("stopped by SIGINT",))
        case BrokenPipeError():
            return ErrorReport(ClosedPipeError.exit_code, ())
        case OSError() if error.errno in _MACHINE_ERRORS:
            where = f"{error.filename}: " if error.filename is not None else ""
            return ErrorReport(OutputError.exit_code, (f"{where}{error.strerror}",))
        case OSError() if error.errno in _EXHAUSTED:
            return ErrorReport(TemporaryError.exit_code, (str(error.strerror),))
        case OSError() if error.errno in _PATH_ERRORS and error.filename is not None:
            return ErrorReport(MissingInputError.exit_code, (f"{os.fsdecode(error.filename)}: {error.strerror}",))
        case MemoryError():
            return ErrorReport(TemporaryError.exit_code, ("out of memory",))
        case ImportError() | RuntimeError() if any(words in str(error) for words in _OUT_OF_MEMORY):
            return ErrorReport(
                TemporaryError.exit_code, ("out of memory or processes: ulimit -v and -u show the limits",)
            )
    return None


PrintReport = Callable[[ErrorReport], None]


class Boundary:
    """A context manager that catches every failure, prints its report, and keeps its exit code and the exception.

    `verbose`: a bug's traceback is printed, not only written to a file.
    """

    def __init__(self, print_report: PrintReport, *, verbose: bool = False) -> None:
        self._print_report = print_report
        self.verbose = verbose
        self.exit_code = 0
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, SystemExit | GeneratorExit):
            return False
        report = report_on(error)
        if report is None and (hidden := _interruption_behind(error)) is not None:
            error, report = hidden, report_on(hidden)
        report = report or self._on_bug(error)
        self.error = error
        self.exit_code = report.exit_code
        _drop_tracebacks(error)
        self._print_report(report.readable())
        return True

    def _on_bug(self, error: BaseException) -> ErrorReport:
        text = "".join(traceback.format_exception(error))
        summary = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
        lines = [f"this is a bug in scope-batch: {summary} (traceback in {_save_traceback(text)})"]
        return ErrorReport(EXIT_BUG, (*lines, *(text.splitlines() if self.verbose else ())))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, each once."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _drop_tracebacks(error: BaseException) -> None:
    """Drop the tracebacks. Their frames would keep a session's caches in device memory."""
    for link in _chain(error):
        link.__traceback__ = None


def _interruption_behind(error: BaseException) -> Interrupted | None:
    """Return the interruption that a library caught and raised as another error (failing imports do that)."""
    return next((link for link in _chain(error) if isinstance(link, Interrupted)), None)


def _with_notes(error: BaseException) -> tuple[str, ...]:
    notes: list[str] = getattr(error, "__notes__", [])
    return tuple(line for text in (str(error), *notes) for line in text.splitlines())


_NO_NUMBER = "Input should be a valid number, unable to parse string as a number"


def _usage(error: typer.TyperException) -> tuple[str, ...]:
    context: typer.Context | None = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context else ""
    if isinstance(error, NoSuchOption) and (field := _field_of(error.option_name)):
        hint = f"; --set {field}=VALUE replaces a value of the job{hint}"
    message = " ".join(error.format_message().split()).rstrip(".")
    return (message.replace(": Value error, ", ": ").replace(_NO_NUMBER, "must be a number") + hint,)


def _field_of(option: str) -> str | None:
    """Return the job field that has the name of an unknown option, None if there is none."""
    from scope_batch.job import Job

    field = option.lstrip("-").replace("-", "_")
    return field if field in Job.model_fields else None


def _save_traceback(text: str) -> Path | str:
    """Write a traceback to the cache folder. Returns the file's path, or the reason why there is none."""
    from scope_batch.files.cache import cache_folder

    head = f"scope-batch {__version__}, Python {platform.python_version()}, {platform.platform()}\n{sys.argv}\n\n"
    try:
        path = cache_folder("tracebacks") / time.strftime(f"%Y%m%d-%H%M%S-{os.getpid()}.txt")
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(without_secrets(head + text) + "\n")
    except OSError as error:
        return f"no file: {error.strerror}; -v shows it"
    except OutputError as error:
        return f"no file: {error}; -v shows it"
    return path
